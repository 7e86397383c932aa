"""What trains with TensorFlow Model Garden: configuration, data, weights, models, evaluation."""
