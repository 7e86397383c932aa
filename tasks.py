"""The commands: `./inv --list` shows them, `./inv --help COMMAND` explains one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

from invoke import Collection, task

from pipeline import report, tools
from pipeline.command_line import (
    after_dashes,
    errors_told,
    given,
    known_stage,
    names,
    port_number,
)
from pipeline.configuration import load_stages
from pipeline.execute import bring_up_to_date, survey
from pipeline.experiment import open_experiment
from pipeline.late import late
from pipeline.screen import megabytes, shown
from pipeline.targets import with_targets

# What few commands need. `late` keeps it from costing all the others a tenth of a second.
annotation = late("pipeline.annotation")
webpage = late("pipeline.webpage")
benchmarking = late("pipeline.benchmarking")
boards = late("pipeline.boards")
checks = late("pipeline.checks")
devcontainer = late("pipeline.devcontainer")
devices = late("pipeline.devices")
doctor = late("pipeline.doctor")
image_list = late("pipeline.image_list")
importing = late("pipeline.importing")
locks = late("pipeline.locks")
publishing = late("pipeline.publishing")
sbom = late("pipeline.sbom")
shipping = late("pipeline.shipping")
trial = late("pipeline.trial")
air_gap = late("pipeline.bundle")

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
    "precision": "fp32, fp16 or int8, several with commas (default: all that the target has)",
    "jobs": "how many targets at once; 0 chooses by cores and memory",
    "environment": "a folder of docker/, such as train or device/arm64",
    "labels": "label_map.pbtxt, or class names with commas between, in the order of their ids",
    "file": "frozen_inference_graph.pb, the folder of a SavedModel, or an export",
    "only": "environments, several with commas",
    "rounds": "each measures the reference and every target once",
    "seconds": "for each measurement in a round",
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
    "from_": "a folder that has the files already, for hosts without network",
}


def command(function: Callable[..., Any]) -> Any:
    """An invoke task that ends with one clear message and a telling exit code."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        with errors_told():
            function(*arguments, **options)

    options = function.__code__.co_varnames[: function.__code__.co_argcount]
    return task(
        guarded,
        help={name: HELP[name] for name in options if name in HELP},
        iterable=[name for name in ("target", "precision", "only", "datasets") if name in options],
    )


@command
def train(  # noqa: PLR0917
    _,
    name="default",
    data=None,
    model=None,
    weights=None,
    steps=None,
    batch=None,
    seed=None,
    validation=None,
    override=None,
    runner="auto",
    gpu="auto",
    force=False,
    dry_run=False,
    reset=False,
):
    """Photos with boxes in, a trained, evaluated and exported detector out.

    Runs what is not current of check, records, train, export and evaluate. An interrupted
    training goes on where it was.
    """
    experiment = open_experiment(name, given(locals()), reset=reset)
    importing.refuse_training(experiment, "train another one, with another --name")
    report.chosen(experiment)
    if dry_run:
        report.dry_run(experiment, survey(experiment, ["evaluate"]), runner, gpu)
        return
    forced = load_stages() if force else ()
    outcome = bring_up_to_date(experiment, ["evaluate"], runner, gpu=gpu, force=forced)
    if outcome.ran:
        devices.refresh(experiment)
    report.results(experiment, outcome)


@command
def check(_, name="default", data=None, runner="auto"):
    """Find what is wrong with a dataset, and draw a contact sheet of its boxes."""
    experiment = open_experiment(name, given(locals()))
    importing.refuse_training(experiment, "check photos with the experiment that trains on them")
    bring_up_to_date(experiment, ["check"], runner, force=["check"])
    print(f"contact sheet: {shown(experiment.output('check') / 'contact_sheet.jpg')}")


@command
def annotate(_, name="default", images=None, port="0", browser=False, runner="auto"):
    """Draw boxes on photos with labelImg, saved beside each photo as they are drawn.

    It opens on the desktop; where there is none, or with --browser, at an address on loopback.
    """
    experiment = open_experiment(name, {})
    folder = Path(images).expanduser().absolute() if images else experiment.data
    annotation.annotate(experiment, folder, port_number(port, free=True), browser, runner)


@command
def detect(  # noqa: PLR0917
    _,
    images=None,
    name="default",
    target=None,
    precision=None,
    device=None,
    score_threshold=None,
    runner="auto",
    gpu="auto",
):
    """Find objects on photos: pictures with boxes, and detections.json.

    With --target it is the converted detector that looks, in the target's environment.
    """
    experiment = open_experiment(name, given(locals()))
    photos = Path(images).expanduser().absolute() if images else None
    stages = ["detect"]
    if device:
        experiment = shipping.running_on(experiment, names(target), device)
    if target:
        stages = [
            one.detect for one in shipping.chosen(experiment, names(target), names(precision))
        ]
    for stage in stages:
        bring_up_to_date(experiment, [stage], runner, gpu=gpu, images=photos)
        print(f"pictures and detections.json: {shown(experiment.output(stage))}")


@command
def import_model(_, file, name="imported", labels=None, data=None, runner="auto"):
    """Take a detector that was trained elsewhere: inv import-model frozen_inference_graph.pb

    A frozen graph of the TensorFlow 1 Object Detection API, the folder of a SavedModel, or another
    experiment's export. Then detect, convert, verify, benchmark and package work from there.
    """
    experiment = importing.import_model(file, name, labels, given({"data": data}), runner)
    report.imported(experiment)


@command
def convert(  # noqa: PLR0917
    _, name="default", target=None, precision=None, runner="auto", force=False, jobs=0
):
    """Convert the detector for devices: inv convert --target openvino-cpu --precision int8"""
    experiment = open_experiment(name, {})
    variants = shipping.chosen(experiment, names(target), names(precision))
    shipping.for_each(experiment, variants, attrgetter("artifact"), runner, force=force, jobs=jobs)
    devices.refresh(experiment)
    for variant in variants:
        print(f"{variant.name + ':':<21}{shown(experiment.output(variant.artifact))}")


@command
def verify(  # noqa: PLR0917
    _,
    name="default",
    target=None,
    precision=None,
    device=None,
    accept_loss=None,
    runner="auto",
    force=False,
    jobs=0,
):
    """Hold converted detectors against the trained one on the test photos; fails closed."""
    experiment = open_experiment(name, {})
    if device:
        experiment = shipping.running_on(experiment, names(target), device)
    variants = shipping.chosen(experiment, names(target), names(precision))
    if accept_loss:
        experiment = shipping.accepting(experiment, variants, accept_loss)
    with devices.shown_at_the_end(experiment):
        shipping.for_each(
            experiment, variants, attrgetter("verify"), runner, force=force, jobs=jobs
        )


@command
def package(_, name="default", target=None, precision=None, format="image", output=None):
    """Pack a verified detector for its device: an image, its archive, or a plain folder.

    Without --precision it is the most compact that passed verification.
    """
    experiment = open_experiment(name, {})
    wanted = names(precision)
    variants = shipping.chosen(experiment, names(target), wanted)
    place = Path(output).expanduser().absolute() if output else None
    report.packages(*shipping.pack(experiment, variants, wanted, format, place))


@command
def push(  # noqa: PLR0917
    _,
    registry,
    tag="latest",
    name="default",
    target=None,
    precision=None,
    packages=None,
    sign=False,
):
    """Push packed detectors to a registry: one name for each target, one for all platforms.

    inv push ghcr.io/me/drydock --tag v1. With --sign also signatures and attestations, by cosign:
    the bill of materials, and what made the image from what.
    """
    folders = [Path(packages).expanduser().absolute()] if packages else []
    if not packages:
        experiment = open_experiment(name, {})
        variants = shipping.chosen(experiment, names(target), names(precision))
        folders = shipping.packages(experiment, variants)
    publishing.publish(publishing.find(folders), registry, tag, sign)


@command
def ship(_, name="default", target=None, runner="auto", format="image"):
    """Convert, verify, benchmark and pack the detector for the targets of configs/project.toml."""
    experiment = open_experiment(name, {})
    variants = shipping.chosen(experiment, names(target), ())
    measure = functools.partial(
        benchmarking.benchmark, experiment, runner=runner, rounds=3, seconds=3.0, threads=0
    )
    with devices.shown_at_the_end(experiment):
        outcome = shipping.ship(experiment, variants, runner, format, measure)
    report.packages(*outcome)


@command
def serve(_, name="default", target=None, precision=None, port="8000", runner="auto"):
    """Try a converted detector as a service on this host: http://127.0.0.1:8000/ until Ctrl-C.

    In its device's packages; without --precision the most compact. Flags of scripts/serve.py may
    follow after --, as in: inv serve -- --score-threshold 0.3
    """
    experiment = open_experiment(name, {})
    variants = shipping.chosen(experiment, names(target), names(precision))
    trial.serve(experiment, trial.one_of(variants), port_number(port), runner, after_dashes())


@command
def benchmark(  # noqa: PLR0917
    _,
    name="default",
    target=None,
    precision=None,
    device=None,
    rounds=3,
    seconds=3.0,
    threads=0,
    runner="auto",
    on=None,
):
    """Measure converted detectors on this host, interleaved with the trained one.

    With --on they are carried to a board and measured there; they must be verified.
    """
    experiment = open_experiment(name, {})
    if device:
        experiment = shipping.running_on(experiment, names(target), device)
    variants = shipping.chosen(experiment, names(target), names(precision))
    options = {"rounds": rounds, "seconds": seconds, "threads": threads}
    with devices.shown_at_the_end(experiment):
        if on:
            boards.benchmark(experiment, variants, on, **options)
        else:
            benchmarking.benchmark(experiment, variants, runner, **options)


@command
def write_report(_, name="default"):
    """Put an experiment on one page for a browser: accuracy, devices, pictures, data."""
    path = webpage.write(open_experiment(name, {}))
    print(f"{shown(path)} ({megabytes(path.stat().st_size)}, pictures inside)")


@command
def list_devices(_, name="default", json=False):
    """Show what came of each device: accuracy, verified or not, latency, where it was measured."""
    devices.show(open_experiment(name, {}), json)


@command
def targets(_, json=False, chosen=False):
    """List the devices that a detector can be carried to."""
    report.targets(json, chosen)


@command
def status(_, name="default", json=False):
    """Show which stages of an experiment are current, and why the others are not."""
    experiment = open_experiment(name, {})
    report.status(experiment, survey(experiment, shipping.begun(experiment)), json)


@command
def explain(_, stage, name="default"):
    """Say which photo, parameter, script or environment made a stage stale."""
    experiment = open_experiment(name, {})
    wanted = known_stage(stage, with_targets(experiment.settings))
    report.explanation(survey(experiment, [wanted])[-1])


@command
def compare(_, first, second):
    """Parameters and metrics of two experiments, side by side."""
    report.comparison(first, second)


@command
def tensorboard(_, name="default", port="6006", runner="auto"):
    """Serve losses, mAP and pictures of an experiment on loopback until Ctrl-C."""
    tools.tensorboard(open_experiment(name, {}), port_number(port), runner)


@command
def shell(_, environment, runner="auto"):
    """Open a shell in an environment, or run one command: inv shell train -- python --version"""
    sys.exit(tools.shell(environment, after_dashes(), runner))


@command
def examine(_, json=False):
    """Say what this machine can run, and what to do about each lack."""
    doctor.show(json)


@command
def clean(_, name=None, everything=False):
    """Remove an experiment's artifacts (--name), or all of artifacts/ (--everything)."""
    tools.clean(name, everything)


@command
def lint(_):
    """Check style, types, the walls between the two sides, scripts, Dockerfiles and workflows."""
    checks.lint()


@command
def test(_, quick=False):
    """Set up what is needed and run the tests; --quick is the tier of seconds."""
    checks.test(quick, after_dashes())


@command
def lock(_, environment="all", check=False, registry=False):
    """Refresh locks and base images, or prove that all pins are whole (--check).

    --environment also takes host (what ./inv itself needs), base (what builds images) and all.
    With --check --registry each base image is looked up where it comes from, too.
    """
    if check:
        locks.check(registry)
    else:
        locks.refresh(environment)


@command
def list_images(_, json=False):
    """List the images of all environments: built or not, stale or not, how large."""
    image_list.show(json)


@command
def build_images(_, only=None):
    """Build the images of all environments, or of some: inv images.build --only openvino,litert"""
    image_list.build(names(only))


@command
def reproduce(_, environment):
    """Build an image twice from nothing and compare: inv images.reproduce litert"""
    image_list.reproduce(environment)


@command
def bundle(_, only=None, datasets=None, output=None, without_images=False, load=None):
    """Pack what environments need for a host without network, or install it there (--load).

    inv bundle --only train,openvino --datasets data/mine; there, in a clone of the same revision:
    ./inv bundle --load FILE
    """
    if load:
        air_gap.load(Path(load).expanduser().absolute())
    else:
        place = Path(output).expanduser().absolute() if output else None
        air_gap.pack(names(only), place, names(datasets), with_images=not without_images)


@command
def list_materials(_, only=None, output=None):
    """Write what images consist of, as CycloneDX: inv sbom --only openvino,device/arm64"""
    sbom.write(names(only), Path(output).expanduser().absolute() if output else None)


@command
def build_devcontainer(_):
    """Build the image that .devcontainer/ opens: `train`, git and the host's own tools."""
    devcontainer.build()


@command
def fetch(_, dataset, from_=None):
    """Download a dataset, every file checked by sha256: inv data.fetch fruits"""
    tools.fetch(dataset, from_)


@command
def resize(_, raw_dir="data/raw", save_dir="data/images", runner="auto"):
    """Bring photos to one size, upright; further flags after --, see: inv data.resize -- --help"""
    folders = {"raw-dir": (raw_dir, "read"), "save-dir": (save_dir, "write")}
    tools.dataset_program("train", "resize_images.py", folders, after_dashes(), runner)


@command
def split(_, images="data/images", runner="auto"):
    """Split photos into train/ and test/; further flags after --, see: inv data.split -- --help"""
    folders = {"images": (images, "write")}
    tools.dataset_program("train", "split_dataset.py", folders, after_dashes(), runner)


@command
def render(_, output="data/rendered", runner="auto"):
    """Render photos of bolts, nuts and washers with exact boxes, as the sample photos were."""
    folders = {"output": (output, "write")}
    tools.dataset_program("render", "render_photos.py", folders, after_dashes(), runner)


_images = Collection("images", reproduce)
_images.add_task(list_images, "list", default=True)
_images.add_task(build_images, "build")
_images.add_task(build_devcontainer, "devcontainer")

namespace = Collection(
    *(train, detect, status, explain, compare, annotate, check, tensorboard),
    *(convert, verify, benchmark, package, ship, push, serve, targets, import_model),
    *(shell, clean, test, lint, lock, bundle),
    Collection("data", fetch, resize, split, render),
    _images,
)
namespace.add_task(examine, "doctor")
namespace.add_task(list_devices, "devices")
namespace.add_task(write_report, "report")
namespace.add_task(list_materials, "sbom")
