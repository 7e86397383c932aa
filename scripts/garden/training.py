"""The training itself: Model Garden's train_lib with our progress, evaluation and selection."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import orbit
import tensorflow as tf
import tf_keras
from official.core import base_trainer, train_lib
from official.modeling import optimization

from atomic import atomic_write
from garden.evaluation import Evaluation, Evaluator
from garden.model import build_task
from garden.progress import Progress

_PICTURES = 8


class Training:
    """One training in ``output``; made anew in the same folder it goes on where it was."""

    def __init__(
        self,
        experiment: Any,
        output: Path,
        classes: list[str],
        validation: list[str],
    ) -> None:
        self._experiment = experiment
        self._output = output
        self._classes = classes
        self._validation = validation
        self._selected = output / "selected"

    def run(self) -> tuple[Path, str]:
        """Train to the end. Returns the selected checkpoint's prefix and how it was chosen."""
        experiment = self._experiment
        seed = experiment.task.train_data.seed or 0
        tf_keras.utils.set_random_seed(seed)
        strategy = distribution()
        first = resumed_step(self._output)
        experiment.task.first_example = first * experiment.task.train_data.global_batch_size
        self._progress = Progress(experiment.trainer.train_steps, first)
        if first:
            self._progress.say(f"train: goes on at step {first}")
        # Orbit prints every loop's numbers; they are in TensorBoard and in this log.
        with (
            (self._output / "train.log").open("a", buffering=1, encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            strategy.scope(),
        ):
            task = build_task(experiment)
            model = task.build_model()
            optimizer = task.create_optimizer(
                experiment.trainer.optimizer_config, experiment.runtime
            )
            self._trainer = base_trainer.Trainer(
                experiment, task, model, optimizer, train=True, evaluate=False
            )
            height, width = experiment.task.model.input_size[:2]
            self._evaluator = Evaluator(model, height, width, self._classes)
            self._writer = tf.summary.create_file_writer(str(self._output / "validation"))
            runner = train_lib.OrbitExperimentRunner(
                distribution_strategy=strategy,
                task=task,
                mode="train",
                params=experiment,
                model_dir=str(self._output),
                trainer=self._trainer,
                train_actions=[self._after_loop],
            )
            runner.run()
            chosen_by = self._finish()
        self._progress.close()
        step = read_json(self._selected / "selected.json")["step"]
        return self._selected / f"step-{step}", chosen_by

    def _after_loop(self, logs: dict[str, Any]) -> None:
        step = int(self._trainer.global_step.numpy())
        self._progress.show(step, float(orbit.utils.get_value(logs["total_loss"])))
        interval = self._experiment.trainer.validation_interval
        last = self._experiment.trainer.train_steps
        if self._validation and step < last and step % interval == 0:
            with self._averaged():
                self._select(step)

    def _finish(self) -> str:
        step = int(self._trainer.global_step.numpy())
        with self._averaged():
            if self._validation:
                self._select(step)
                chosen_by = "best mAP on the validation photos"
            else:
                self._save({"step": step})
                chosen_by = "the last step: there are no validation photos"
        return chosen_by

    def _select(self, step: int) -> None:
        """Keep the weights if they are the best so far on the validation photos."""
        evaluation = self._evaluator.run(self._validation, _PICTURES)
        self._write(step, evaluation)
        best = read_json(self._selected / "selected.json").get("AP", -1.0)
        self._progress.say(
            f"validation: step {step}, mAP {evaluation.metrics['AP']:.3f}, "
            f"AP50 {evaluation.metrics['AP50']:.3f}"
            + (", the best so far" if evaluation.metrics["AP"] > best else "")
        )
        if evaluation.metrics["AP"] > best:
            self._save({"step": step, **evaluation.metrics})

    def _save(self, about: dict[str, Any]) -> None:
        model = self._trainer.model
        items = getattr(model, "checkpoint_items", {})
        prefix = self._selected / f"step-{about['step']}"
        tf.train.Checkpoint(model=model, **items).write(str(prefix))
        # Only now is it whole; a kill before this line leaves the earlier selection in force.
        with atomic_write(self._selected / "selected.json") as path:
            path.write_text(json.dumps(about), encoding="utf-8")
        for other in self._selected.glob("step-*"):
            if other.stem.split(".")[0] != prefix.name:
                other.unlink()

    def _write(self, step: int, evaluation: Evaluation) -> None:
        with self._writer.as_default():
            for name, value in evaluation.metrics.items():
                tf.summary.scalar("mAP" if name == "AP" else name, value, step)
            for number, picture in enumerate(evaluation.pictures):
                tf.summary.image(f"predicted | true/{number}", picture[np.newaxis], step)
        self._writer.flush()

    @contextlib.contextmanager
    def _averaged(self):
        """The model carries the averaged weights inside, where the optimizer keeps an average."""
        optimizer = self._trainer.optimizer
        averages = isinstance(optimizer, optimization.ExponentialMovingAverage)
        if averages:
            optimizer.swap_weights()
        yield
        if averages:
            optimizer.swap_weights()


def distribution() -> tf.distribute.Strategy:
    """All local GPUs together, one GPU or the CPU."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def resumed_step(output: Path) -> int:
    """The step of the latest whole checkpoint in ``output``, 0 where there is none."""
    latest = tf.train.latest_checkpoint(str(output))
    return int(latest.rsplit("-", 1)[1]) if latest else 0


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is not there yet."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
