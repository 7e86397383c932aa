"""Import this before TensorFlow: it keeps TensorFlow's own chatter off the user's terminal."""

from __future__ import annotations

import logging
import os
import warnings

# TensorFlow logs missing CUDA and unsupported CPU instructions as errors; its real errors come
# as Python exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A backbone has more outputs than a decoder takes; Keras warns of each.
warnings.filterwarnings("ignore", message="Input dict contained keys")
# The backbone's last convolution feeds no decoder and has no gradient.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

from absl import logging as absl_logging  # noqa: E402  (the variable above must come first)

absl_logging.set_verbosity(absl_logging.ERROR)
