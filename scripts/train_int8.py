"""Train a finished detector on with rounding to 8 bits simulated, so that int8 loses less.

    python scripts/train_int8.py --train artifacts/default/train \\
        --records artifacts/default/records --qat 100 --output trained_on

Quantization-aware training: --qat steps on the training photos, with what goes into convolutions
and their kernels rounded (garden/rounding.py). BatchNorm keeps its statistics. Writes a training as
train.py does, in floating point: exported, it is quantized by converters like any other.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import tensorflow as tf
import tf_keras

from atomic import atomic_write
from console import InputError, run, say
from garden import config
from garden.model import build_task, load_detector
from garden.progress import Progress
from garden.records import record_files
from garden.rounding import Rounding

# Model Garden's heads have the second kind, which is not of the first.
_NORMALISING = (
    tf_keras.layers.BatchNormalization,
    tf_keras.layers.experimental.SyncBatchNormalization,
)
_WATCHED_BATCHES = 8
# A tenth of what configs/models/ begin with: the weights are nearly where they should be.
_RATE = 2e-4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True, help="folder that train.py wrote")
    parser.add_argument(
        "--records", type=Path, required=True, help="folder that make_records.py wrote"
    )
    parser.add_argument("--qat", type=int, default=100, help="steps of training")
    parser.add_argument("--seed", type=int, default=1, help="of the photos' order and changes")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    if given.qat < 1:
        parser.error("--qat: at least one step")
    files = record_files(given.records, "train")
    if not files:
        raise InputError(f"no train.record in {given.records}; make the records first")
    experiment, model = load_detector(given.train)
    if experiment.task.name != config.RETINANET:
        raise InputError("quantization-aware training is for one-stage detectors (RetinaNet)")
    experiment.task.train_data.input_path = files
    experiment.task.train_data.seed = given.seed
    train(experiment, model, given.qat)
    given.output.mkdir(parents=True, exist_ok=True)
    write(model, given.train, given.output, {"qat": given.qat})


def train(experiment: Any, model: tf_keras.Model, steps: int) -> None:
    """Train ``model``, built and restored, on the records of ``experiment`` for int8."""
    tf_keras.utils.set_random_seed(experiment.task.train_data.seed)
    task = build_task(experiment)
    # Also what training left frozen: its kernels are rounded like all others.
    model.trainable = True
    for layer in model.submodules:
        if isinstance(layer, _NORMALISING):
            layer.trainable = False
    batches = iter(task.build_inputs(experiment.task.train_data))
    rounding = Rounding(model)
    with rounding.watching():
        for _ in range(_WATCHED_BATCHES):
            model(next(batches)[0], training=False)
    rate = tf_keras.optimizers.schedules.CosineDecay(_RATE, steps)
    optimizer = tf_keras.optimizers.Adam(rate, global_clipnorm=10.0)
    progress = Progress(steps, 0)
    with rounding.simulated():

        @tf.function
        def step(batch: Any) -> tf.Tensor:
            return task.train_step(batch, model, optimizer)[task.loss]

        for number in range(1, steps + 1):
            loss = step(next(batches))
            if number % 5 == 0 or number == steps:
                progress.show(number, float(loss))
    progress.close()
    say(f"trained {steps} steps with rounding to 8 bits; loss {float(loss):.3f}")


def write(model: tf_keras.Model, source: Path, output: Path, further: dict[str, Any]) -> None:
    """Write ``model`` as the training in ``source`` is written; train.json marks it whole."""
    tf.train.Checkpoint(model=model).write(str(output / "selected" / "int8"))
    shutil.copyfile(source / "params.yaml", output / "params.yaml")
    summary = json.loads((source / "train.json").read_text("utf-8"))
    with atomic_write(output / "train.json") as path:
        about = {**summary, **further, "checkpoint": "selected/int8"}
        path.write_text(json.dumps(about, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    run(main)
