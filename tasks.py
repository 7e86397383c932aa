"""The commands: `./inv --list` shows them, `./inv --help COMMAND` explains one.

Here are those about an experiment, which trains, examines and ships a detector; commands/ has those
about the project itself.
"""

from __future__ import annotations

import functools
from operator import attrgetter

from invoke import Collection

import commands.data
import commands.images
import commands.project
from commands.command import command
from pipeline import report, tools
from pipeline.command_line import after_dashes, given, known_stage, names, port_number
from pipeline.configuration import load_stages
from pipeline.errors import InputError
from pipeline.execute import bring_up_to_date, survey
from pipeline.experiment import open_experiment
from pipeline.late import late
from pipeline.paths import typed
from pipeline.screen import megabytes, shown
from pipeline.targets import with_targets

# What few commands need. `late` keeps it from costing all the others a tenth of a second.
annotation = late("pipeline.annotation")
benchmarking = late("pipeline.benchmarking")
boards = late("pipeline.boards")
devices = late("pipeline.devices")
importing = late("pipeline.importing")
publishing = late("pipeline.publishing")
shipping = late("pipeline.shipping")
trial = late("pipeline.trial")
webpage = late("pipeline.webpage")


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
    experiment = open_experiment(name, given(locals()), reset=reset, new=True)
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
    experiment = open_experiment(name, given(locals()), new=True)
    importing.refuse_training(experiment, "check photos with the experiment that trains on them")
    bring_up_to_date(experiment, ["check"], runner, force=["check"])
    print(f"contact sheet: {shown(experiment.output('check') / 'contact_sheet.jpg')}")


@command
def annotate(_, name="default", images=None, port="0", browser=False, runner="auto"):
    """Draw boxes on photos with labelImg, saved beside each photo as they are drawn.

    It opens on the desktop; where there is none, or with --browser, at an address on loopback.
    """
    experiment = open_experiment(name, {})
    folder = typed(images) if images else experiment.data
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
    photos = typed(images) if images else None
    stages = ["detect"]
    if precision and not target:
        raise InputError("--precision goes with --target: which converted detector shall look?")
    if device:
        experiment = shipping.running_on(experiment, names(target), device)
    if target:
        variants = shipping.chosen(experiment, names(target), names(precision))
        done = shipping.for_each(
            experiment, variants, attrgetter("detect"), runner, gpu=gpu, images=photos
        )
        stages = [variant.detect for variant in done]
    else:
        bring_up_to_date(experiment, stages, runner, gpu=gpu, images=photos)
    for stage in stages:
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
    _, name="default", target=None, precision=None, qat=None, runner="auto", force=False, jobs=0
):
    """Convert the detector for devices: inv convert --target openvino-cpu --precision int8

    Where INT8 loses too much in all other ways, the detector is trained on for it (--qat 0: never).
    """
    experiment = open_experiment(name, given({"qat": qat}))
    variants = shipping.chosen(experiment, names(target), names(precision))
    done = shipping.for_each(
        experiment, variants, attrgetter("artifact"), runner, force=force, jobs=jobs
    )
    devices.refresh(experiment.reopened())
    for variant in done:
        print(f"{variant.name + ':':<21}{shown(experiment.output(variant.artifact))}")


@command
def verify(  # noqa: PLR0917
    _,
    name="default",
    target=None,
    precision=None,
    device=None,
    qat=None,
    accept_loss=None,
    runner="auto",
    force=False,
    jobs=0,
):
    """Hold converted detectors against the trained one on the test photos; fails closed.

    Where INT8 loses too much in all other ways, the detector is trained on for it (--qat 0: never).
    """
    experiment = open_experiment(name, given({"qat": qat}))
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
    place = typed(output) if output else None
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
    folders = [typed(packages)] if packages else []
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
        benchmarking.benchmark,
        **{"runner": runner, "rounds": 3, "minutes": 10.0, "seconds": 3.0, "threads": 0},
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
    minutes=10.0,
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
    options = {"rounds": rounds, "minutes": minutes, "seconds": seconds, "threads": threads}
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
def clean(_, name=None, everything=False):
    """Remove an experiment's artifacts (--name), or all of artifacts/ (--everything)."""
    tools.clean(name, everything)


namespace = Collection(
    *(train, detect, status, explain, compare, annotate, check, tensorboard),
    *(convert, verify, benchmark, package, ship, push, serve, targets, import_model, clean),
    *(commands.data.namespace, commands.images.namespace),
)
namespace.add_task(list_devices, "devices")
namespace.add_task(write_report, "report")
for name, task in commands.project.namespace.tasks.items():
    namespace.add_task(task, name)
