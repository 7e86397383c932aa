"""Make a detector that was trained elsewhere into an export, from which devices are served.

    python scripts/import_model.py --source folder --imported frozen_inference_graph.pb \\
        --labels person,car --output artifacts/theirs/export

In the folder lies what is imported:

- a frozen graph of the TensorFlow 1 Object Detection API. The network of an SSD is taken out of it
  and held against the graph as a whole; others run as they are, in TensorFlow alone;
- a SavedModel with NMS inside, as Model Garden exports: runs as it is, in TensorFlow alone;
- a folder that export.py wrote.

Class names: --labels, or labels.pbtxt in the folder. Writes what export.py writes
(docs/ARTIFACTS.md) and origin.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import tensorflow as tf

from atomic import atomic_write
from console import InputError, StageError, run, say, warn
from dataset import label_map
from detection.detector import (
    ONE_STAGE,
    STRETCH_TF1,
    TWO_STAGE,
    WHOLE,
    Detector,
    NetworkInput,
    read_detector,
    write_detector,
)
from detection.runtimes import tensorflow as tensorflow_runtime
from foreign import object_detection_api, saved_model
from foreign.object_detection_api import OUTPUTS, Heads, NoHeadsError
from foreign.proof import Find, pictures, prove

# Graphs of the Object Detection API keep scores from 1e-8 on: noise that costs a device time.
_LOWEST_SCORE = 0.01
_WHOLE_SIZE = 300  # of a picture for what takes photos of any size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of what is imported")
    parser.add_argument("--imported", required=True, help="name of the file or folder in it")
    parser.add_argument("--labels", default="", help="class names with commas, in order of ids")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    import_model(given.source / given.imported, _names(given.labels, given.source), given.output)


def import_model(source: Path, names: Optional[dict[int, str]], output: Path) -> None:
    """Write the export into ``output``; ``names`` are class names by id, None where none are given.

    InputError for what is no detector, and for names that are not those of its classes.
    """
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder.")
    output.mkdir(parents=True, exist_ok=True)
    origin = {"file": source.name, "sha256": sha256(source)}
    if (source / "detector.json").is_file():
        origin |= _from_export(source, names, output)
    elif (source / "saved_model.pb").is_file():
        origin |= _from_saved_model(source, names, output)
    elif source.is_dir():
        raise InputError(
            f"{source.name}: in this folder there is neither saved_model.pb nor detector.json. "
            "Give the folder of a SavedModel, one that export.py wrote, or a frozen graph."
        )
    else:
        origin |= _from_graph(source, names, output)
    with atomic_write(output / "origin.json") as path:
        path.write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", "utf-8")
    detector = read_detector(output)
    say(f"imported {source.name}, sha256 {origin['sha256'][:12]}: {', '.join(detector.classes)}")
    say(f"  {origin['taken']}")


def sha256(source: Path) -> str:
    """Of a file; of a folder, over ``<sha256>  <path>`` of each file in it, one a line, sorted."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(source)}\n"
        for path in sorted(source.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).hexdigest()


def _names(given: str, source: Path) -> Optional[dict[int, str]]:
    if given:
        names = [name.strip() for name in given.split(",")]
        if not all(names) or len(set(names)) != len(names):
            raise InputError(f"--labels {given}: different names with commas between are wanted")
        return dict(enumerate(names, start=1))
    if (source / "labels.pbtxt").is_file():
        return {number: name for name, number in label_map.read(source / "labels.pbtxt").items()}
    return None


def _check_names(
    names: Optional[dict[int, str]], count: Optional[int], own: Optional[list[str]] = None
) -> tuple[str, ...]:
    """The class names in the order of ids 1 to ``count`` (None: it is not known).

    Label maps may leave ids out, as COCO's does; those classes are called "class 12".
    """
    if names is None:
        classes = "its classes" if count is None else f"its {count} classes"
        raise InputError(
            f"what are {classes} called? Give --labels label_map.pbtxt, or the names with commas "
            "between, in the order of their ids."
        )
    if count is not None and max(names) != count:
        raise InputError(
            f"the labels do not fit: the detector has {count} classes, the labels name "
            f"{len(names)}, up to id {max(names)}"
        )
    classes = tuple(names.get(number, f"class {number}") for number in range(1, max(names) + 1))
    if own is not None and list(classes) != own:
        raise InputError(
            f"the labels do not fit: the export itself says {', '.join(own)}; leave --labels out"
        )
    return classes


def _from_export(source: Path, names: Optional[dict[int, str]], output: Path) -> dict[str, str]:
    """Another experiment's export, or one from another machine."""
    detector = read_detector(source)
    if names is not None:
        _check_names(names, len(detector.classes), list(detector.classes))
    needed = ["saved_model", *([] if detector.kind == WHOLE else ["raw_heads"])]
    needed += ["box_head"] if detector.kind == TWO_STAGE else []
    for name in needed:
        if not (source / name / "saved_model.pb").is_file():
            raise InputError(f"{source.name}: its detector.json is there, but not {name}/.")
    for entry in sorted(source.iterdir()):
        if entry.name.startswith(".") or entry.name in ("run.json", "detector.json"):
            continue
        if entry.is_dir():
            shutil.copytree(entry, output / entry.name, dirs_exist_ok=True)
        else:
            shutil.copy(entry, output / entry.name)
    _try_out(tensorflow_runtime.load(source), detector)
    write_detector(output, detector)
    if not (output / "label_map.pbtxt").exists():
        label_map.write(output / "label_map.pbtxt", list(detector.classes))
    return {"format": "export", "taken": "an export of this project, as it is"}


def _from_saved_model(
    source: Path, names: Optional[dict[int, str]], output: Path
) -> dict[str, str]:
    model = saved_model.load(source)
    find = saved_model.photo_signature(model, source.name)
    classes = _check_names(names, None)
    pixels = saved_model.gives_pixels(find, pictures(_WHOLE_SIZE, _WHOLE_SIZE))
    found = saved_model.normalised(find, pixels)
    _save(found, model, output)
    detector = _whole(source, classes, int(_first(found)["detection_scores"].shape[1]))
    _finish(output, detector)
    why = "a SavedModel says nothing of its raw heads and anchors"
    warn(f"for the target tensorflow alone: {why}")
    return {"format": "SavedModel", "taken": f"as a whole, with its NMS inside: {why}"}


def _from_graph(source: Path, names: Optional[dict[int, str]], output: Path) -> dict[str, str]:
    graph = object_detection_api.read_graph(source)
    find = _whole_function(graph)
    try:
        detector, network, every_score = taken_apart(graph, source, names)
        off = prove(detector, network, every_score)
    except NoHeadsError as error:
        classes = _check_names(names, None)
        _save(find, None, output)
        _finish(output, _whole(source, classes, _most(find)))
        warn(f"for the target tensorflow alone: {error}")
        return {
            "format": "frozen graph of the Object Detection API",
            "taken": f"as a whole, with its NMS inside: {error}",
        }
    _save(find, None, output)
    _save_raw_heads(network, detector, output / "raw_heads")
    shutil.copyfile(source, output / "frozen_inference_graph.pb")
    _finish(output, detector)
    return {
        "format": "frozen graph of the Object Detection API",
        "taken": f"{len(detector.anchors)} anchors, {detector.scores}, box coder scale "
        f"{', '.join(f'{v:g}' for v in detector.box_coder_scale)}; decoding in NumPy gives what "
        f"the graph gives (scores within {off:.0e})",
    }


def taken_apart(
    graph: Any, source: Path, names: Optional[dict[int, str]]
) -> tuple[Detector, Find, Find]:
    """An SSD's detector, its network (a picture in, scores and boxes out) and the graph as a whole.

    ``graph`` is what ``source`` holds; as a whole it shows detections of every score, so that there
    is something to compare in any picture. NoHeadsError where its network cannot be taken out.
    """
    heads = object_detection_api.find_heads(graph)
    find = _whole_function(object_detection_api.with_every_score(graph))
    most = _most(find)
    part = object_detection_api.network(graph, heads)
    run_part = _graph_function(part, [heads.pictures], [heads.scores, heads.codes, heads.anchors])
    picture = tf.TensorSpec([1, heads.height, heads.width, 3], tf.uint8)
    scores, codes, anchors = run_part(tf.zeros(picture.shape, tf.float32))
    count = int(tf.size(anchors)) // 4
    if tf.size(codes) != tf.size(anchors) or scores.shape[-2] != count:
        raise NoHeadsError(
            f"its codes {codes.shape}, anchors {anchors.shape} and scores {scores.shape} do not "
            "belong together"
        )
    classes = _check_names(names, int(scores.shape[-1]) - heads.background)

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, codes, _ = run_part(tf.cast(images, tf.float32))
        return {
            "scores": tf.reshape(scores, [1, count, -1])[:, :, heads.background :],
            "boxes": tf.reshape(codes, [1, count, 4]),
        }

    mean, std = _normalisation(graph, heads, picture)
    size = np.array([heads.height, heads.width] * 2, np.float32)
    if heads.most_of_a_class < most:
        warn(
            f"the graph keeps at most {heads.most_of_a_class} detections of a class and {most} in "
            f"all; here {most} in all count"
        )
    detector = Detector(
        kind=ONE_STAGE,
        name=source.stem,
        classes=classes,
        input=NetworkInput(heads.height, heads.width, mean, std, STRETCH_TF1),
        score_threshold=max(heads.score_threshold, _LOWEST_SCORE),
        iou_threshold=round(heads.iou_threshold, 6),
        max_detections=most,
        pre_nms_top_k=count,
        anchors=anchors.numpy().reshape(-1, 4) * size,
        box_coder_scale=heads.box_coder_scale,
        clip="after_nms",
        scores=heads.activation,
    )
    if not (detector.anchors[:, 2:] > detector.anchors[:, :2]).all():
        raise NoHeadsError("its anchors have no area")
    return detector, network, find


def _whole_function(graph: Any) -> Find:
    whole = _graph_function(graph, [object_detection_api.photo_input(graph)], list(OUTPUTS))
    return lambda photo: dict(zip(OUTPUTS, whole(photo)))


def _normalisation(
    graph: Any, heads: Heads, picture: tf.TensorSpec
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of each channel, found by asking the graph for black, grey and white."""
    first = _first_convolution(graph, heads.pictures)
    part = object_detection_api.network(graph, dataclasses.replace(heads, scores=first))
    enter = _graph_function(part, [heads.pictures], [first])
    levels = [
        enter(tf.fill(picture.shape, value))[0].numpy()[0, 40, 40] for value in (0.0, 127.0, 255.0)
    ]
    gain = (levels[2] - levels[0]) / 255
    if (
        gain.shape != (3,)
        or not gain.all()
        or np.abs(levels[0] + 127 * gain - levels[1]).max() > 1e-3
    ):
        raise NoHeadsError("its pixels are not normalised channel by channel")
    mean, std = -levels[0] / gain, 1 / gain
    return (
        tuple(round(float(value), 4) for value in mean),
        tuple(round(float(value), 4) for value in std),
    )


def _first_convolution(graph: Any, pictures: str) -> str:
    """The tensor of normalised pixels: what the first convolution behind ``pictures`` reads."""
    queue, seen = [pictures.partition(":")[0]], set()
    while queue:
        name = queue.pop(0)
        for node in graph.node:
            if name not in (source.partition(":")[0] for source in node.input) or node.name in seen:
                continue
            if node.op in ("Conv2D", "Pad", "DepthwiseConv2dNative"):
                return node.input[0] if ":" in node.input[0] else f"{node.input[0]}:0"
            if node.op in ("Mul", "Sub", "Add", "AddV2", "RealDiv", "Identity", "Cast"):
                seen.add(node.name)
                queue.append(node.name)
    raise NoHeadsError("its pictures do not lead to a convolution")


def _graph_function(graph: Any, feeds: list[str], fetches: list[str]) -> Callable[..., list]:
    """``graph`` as a function of the tensors ``feeds``; operators of TensorFlow 1 included."""
    # Pruned, because tf.function itself does not run TensorFlow 1's loops.
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    return wrapped.prune(feeds, [name if ":" in name else f"{name}:0" for name in fetches])


def _first(find: Find) -> dict[str, tf.Tensor]:
    return find(tf.constant(pictures(_WHOLE_SIZE, _WHOLE_SIZE)[0][None]))


def _most(find: Find) -> int:
    """How many detections there are at most; InputError where the model does not run."""
    try:
        return int(_first(find)["detection_scores"].shape[1])
    except (tf.errors.OpError, ValueError, TypeError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"TensorFlow cannot run this detector: {told[:200]}") from None


def _whole(source: Path, classes: tuple[str, ...], most: int) -> Detector:
    """What runs from a photo to detections: of what is inside, nothing is known."""
    return Detector(
        kind=WHOLE,
        name=source.stem,
        classes=classes,
        input=NetworkInput(_WHOLE_SIZE, _WHOLE_SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        score_threshold=0.0,
        iou_threshold=1.0,
        max_detections=most,
        pre_nms_top_k=most,
    )


def _try_out(runtime: Any, detector: Detector) -> None:
    """StageError where a detector that came as files does not run."""
    try:
        runtime.detect(pictures(detector.input.height, detector.input.width)[0])
    except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"the export does not run: {error}") from None


def _save_raw_heads(network: Find, detector: Detector, folder: Path) -> None:
    spec = tf.TensorSpec([1, detector.input.height, detector.input.width, 3], tf.uint8, "images")
    _save_function(network, spec, None, folder)


def _save(find: Find, model: Any, output: Path) -> None:
    photo = tf.TensorSpec([1, None, None, 3], tf.uint8, "inputs")
    _save_function(find, photo, model, output / "saved_model")


def _save_function(
    function: Find,
    spec: tf.TensorSpec,
    model: Any,
    folder: Path,
) -> None:
    module = tf.Module()
    module.model = model  # its variables live as long as it does
    signature = tf.function(function).get_concrete_function(spec)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})


def _finish(output: Path, detector: Detector) -> None:
    label_map.write(output / "label_map.pbtxt", list(detector.classes))
    write_detector(output, detector)


if __name__ == "__main__":
    run(main)
