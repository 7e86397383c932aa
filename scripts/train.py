"""Train a detector with TensorFlow Model Garden on records.

Run again after an interruption with the same --output, it goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from atomic import atomic_write
from console import InputError, run, say, warn

WEIGHTS_LIST = Path(__file__).resolve().parents[1] / "configs" / "weights.toml"


def main() -> None:
    """Parse the command line and train."""
    arguments = _parse_arguments()
    began = time.monotonic()

    import garden.quiet  # noqa: F401  (before anything that imports TensorFlow)
    from garden import automatic, config, weights
    from garden.records import read_sample, record_files
    from garden.training import Training, resumed_step

    model_name = arguments.config.stem
    experiment = config.load_experiment(arguments.config, arguments.override)
    classes, photos = _read_records(arguments.records)
    train_files = record_files(arguments.records, "train")
    if not train_files:
        raise InputError(f"no train.record in {arguments.records}; make the records first")
    chosen = weights.choose(arguments.weights, model_name, weights.read_list(WEIGHTS_LIST))
    arguments.output.mkdir(parents=True, exist_ok=True)
    _same_as_before(arguments)

    _fill_in(experiment, arguments)
    start = weights.prepare(chosen, experiment, arguments.output / "start")
    choices = automatic.fill(
        experiment,
        automatic.Situation(
            photos=photos.get("train", 0),
            classes=len(classes),
            validation_photos=photos.get("validation", 0),
            sample=read_sample(train_files),
            pretrained=start.checkpoint is not None,
            backbone_blocks=_backbone_blocks(experiment),
            gpus=_gpus(),
        ),
    )
    experiment.task.train_data.input_path = train_files
    experiment.task.init_checkpoint = start.checkpoint
    experiment.task.init_checkpoint_modules = start.modules
    experiment.validate()
    _describe(model_name, experiment, start, choices)

    training = Training(
        experiment,
        arguments.output,
        classes,
        record_files(arguments.records, "validation"),
    )
    already = resumed_step(arguments.output)
    checkpoint, chosen_by = training.run()

    _write_params(experiment, arguments.output / "params.yaml")
    summary = {
        "model": model_name,
        "weights": start.name,
        "weights_origin": start.origin,
        "steps": experiment.trainer.train_steps,
        "batch": experiment.task.train_data.global_batch_size,
        "seed": arguments.seed,
        "classes": classes,
        "checkpoint": str(checkpoint.relative_to(arguments.output)),
        "chosen_by": chosen_by,
        "input_size": list(experiment.task.model.input_size[:2]),
        "seconds": round(time.monotonic() - began, 1),
        "resumed_at": already,
        "automatic": automatic.as_json(choices),
    }
    with atomic_write(arguments.output / "train.json") as path:
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(arguments.output / "start", ignore_errors=True)
    say(f"trained {summary['steps']} steps in {summary['seconds']:.0f} s; selected {chosen_by}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="a file of configs/models/")
    parser.add_argument("--records", type=Path, required=True, help="what make_records.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--steps", type=int, default=0, help="training steps; 0: automatic")
    parser.add_argument("--batch", type=int, default=0, help="photos in a step; 0: automatic")
    parser.add_argument("--seed", type=int, default=1, help="of every random choice")
    parser.add_argument(
        "--weights",
        default="auto",
        help="auto, random, a name of configs/weights.toml, or the path of a checkpoint",
    )
    parser.add_argument(
        "--override", default="", help="Model Garden's overrides, 'task.model.head.num_convs=4,...'"
    )
    arguments = parser.parse_args()
    if arguments.steps < 0 or arguments.batch < 0:
        parser.error("--steps and --batch must not be negative")
    return arguments


def _read_records(folder: Path) -> tuple[list[str], dict[str, int]]:
    path = folder / "records.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        photos = {split: values["photos"] for split, values in about["splits"].items()}
        return about["classes"], photos
    except OSError as error:
        raise InputError(f"{folder} holds no records: records.json is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not what make_records.py writes; make the records anew"
        ) from error


def _same_as_before(arguments: argparse.Namespace) -> None:
    """Refuse to go on in a folder that another training left, which would mix the two."""
    # Test photos do not count: training never depends on them.
    records = [
        path for pattern in ("train.*", "validation.*") for path in arguments.records.glob(pattern)
    ]
    asked = {
        "config": arguments.config.read_text(encoding="utf-8"),
        "records": {path.name: path.stat().st_size for path in sorted(records)},
        "steps": arguments.steps,
        "batch": arguments.batch,
        "seed": arguments.seed,
        "weights": arguments.weights,
        "override": arguments.override,
    }
    path = arguments.output / "asked.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise InputError(
            f"{arguments.output} holds a training with other settings or other photos; "
            "give another --output, or remove that folder"
        )
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asked), encoding="utf-8")


def _fill_in(experiment: Any, arguments: argparse.Namespace) -> None:
    if arguments.steps:
        experiment.trainer.train_steps = arguments.steps
    if arguments.batch:
        experiment.task.train_data.global_batch_size = arguments.batch
    experiment.task.train_data.seed = arguments.seed


def _backbone_blocks(experiment: Any) -> int:
    import tf_keras
    from official.vision.modeling.backbones import factory

    from garden.task import count_blocks

    model = experiment.task.model
    backbone = factory.build_backbone(
        tf_keras.layers.InputSpec(shape=[None, *model.input_size]),
        model.backbone,
        model.norm_activation,
    )
    return count_blocks(backbone)


def _gpus() -> int:
    import tensorflow as tf

    return len(tf.config.list_logical_devices("GPU"))


def _describe(name: str, experiment: Any, start: Any, choices: dict[str, Any]) -> None:
    height, width = experiment.task.model.input_size[:2]
    say(f"{name}, input {width}x{height}, from {start.origin}")
    if start.checkpoint is None:
        warn("starts from random weights: expect to need many more photos and steps")
    for label, choice in choices.items():
        value = choice.value
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        say(f"  {label.replace('_', ' ')}: {value} ({choice.why})")


def _write_params(experiment: Any, path: Path) -> None:
    from official.modeling import hyperparams

    with atomic_write(path) as temporary:
        hyperparams.save_params_dict_to_yaml(experiment, str(temporary))


if __name__ == "__main__":
    run(main)
