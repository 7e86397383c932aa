"""What makes a function a command of `./inv`: help for its options, errors as messages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from invoke import task

from pipeline.command_line import errors_told, refuse_impossible

HELP = {
    "name": "the experiment: a folder of its own in artifacts/",
    "data": "folder with train/ and test/, photos and labelImg's xml inside (default: data/images)",
    "model": "a file of configs/models/, without .yaml",
    "weights": "auto, random, a name of configs/weights.toml, or a checkpoint",
    "steps": "training steps; 0 chooses by the number of photos",
    "batch": "photos a step; 0 chooses",
    "seed": "for everything random",
    "validation": "share of the train photos to choose the checkpoint on; auto chooses",
    "override": "Model Garden settings over the model's file, e.g. 'trainer.train_steps=50'",
    "runner": "auto, docker or local",
    "gpu": "auto, on or off",
    "force": "run also what is current",
    "dry_run": "show what would run and the exact command lines, and stop",
    "reset": "forget what earlier commands chose for this experiment",
    "json": "for programs",
    "target": "a target, several with commas, or all (default: targets in configs/project.toml)",
    "chosen": "only those of configs/project.toml",
    "qat": "steps of quantization-aware training where int8 does not hold; 0: never (default: 100)",
    "precision": "fp32, fp16 or int8, several with commas (default: all that the target has)",
    "jobs": "how many targets at once; 0 chooses by cores and memory",
    "environment": "a folder of docker/, such as train or device/arm64",
    "labels": "label_map.pbtxt, or class names with commas between, in the order of their ids",
    "file": "frozen_inference_graph.pb, the folder of a SavedModel, or an export",
    "only": "environments, several with commas",
    "rounds": "each measures the reference and every target once",
    "minutes": "begin no further round that would end after them",
    "seconds": "for each measurement in a round; longer where a network is that slow",
    "on": "a board to measure on instead of this host, as ssh://user@board or ssh://user@board:22",
    "threads": "cores that a network may use; 0: all",
    "device": "CPU, GPU, CUDA, MYRIAD: the device itself where this host has it, or its stand-in",
    "accept_loss": "let what loses more than the tolerance pass, for this reason; it is recorded",
    "datasets": "folders of data/ to take along, several with commas",
    "without_images": "packages only, for hosts without a container engine",
    "load": "an archive that this command made elsewhere",
    "format": "image (stays in the engine), tar (for `docker load`) or folder (without Docker)",
    "registry": "where to: a host and folders; somebody must be logged in there (docker login)",
    "tag": "of the pushed images, as in v1.2",
    "packages": "folder of packages (default: those of the experiment)",
    "sign": "sign and attest with cosign",
    "images": "photos to detect on: a folder, a file or a quoted glob; to annotate: a folder",
    "score_threshold": "below it a detection is not shown",
    "port": "of this machine's loopback (annotate: 0 takes any that is free)",
    "browser": "show it in a browser also where there is a desktop",
    "raw_dir": "the photos as taken",
    "save_dir": "where the resized ones go",
    "output": "folder to write to",
    "bundle.output": "the archive to write (default: drydock-REVISION.bundle in this folder)",
    "everything": "all experiments; environments and photos stay",
    "quick": "the tier of seconds: style, and the unit tests",
    "check": "prove that all pins are whole, and change nothing",
    "lock.registry": "with --check: look each base image up where it comes from",
    "lock.environment": "a folder of docker/, host, base or all",
    "list_images.registry": "with --json: the registry that a CI keeps layers in",
    "split.images": "the folder of photos to split",
    "stage": "as inv status lists it, such as train or openvino-cpu/int8/verify",
    "dataset": "a table of configs/datasets.toml",
    "first": "an experiment",
    "second": "another one",
    "from_": "a folder that has the files already, for hosts without network",
}


def command(function: Callable[..., Any]) -> Any:
    """An invoke task that ends with one clear message and a telling exit code."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        with errors_told():
            refuse_impossible(options)
            function(*arguments, **options)

    options = function.__code__.co_varnames[: function.__code__.co_argcount]
    return task(
        guarded,
        help={name: HELP.get(f"{function.__name__}.{name}") or HELP[name] for name in options[1:]},
        auto_shortflags=False,  # -h would be --threads, and -r now this, now that
        iterable=[name for name in ("target", "precision", "only", "datasets") if name in options],
    )
