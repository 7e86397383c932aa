"""Turn a finished training into files that detect without the training code.

    python scripts/export.py --train artifacts/default/train --records artifacts/default/records \\
        --output artifacts/default/export

Writes saved_model/ (photo in, detections out), raw_heads/ (picture of fixed size in, scores and
box codes of every anchor out: what devices get), frozen_inference_graph.pb (TensorFlow 1),
anchors.npy, label_map.pbtxt and detector.json. docs/ARTIFACTS.md describes each of them. The
network of a two-stage detector (Faster R-CNN) is cut in two where it decides where to look again:
raw_heads/ proposes, box_head/ looks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import tensorflow as tf
from official.vision.configs import retinanet
from official.vision.ops import anchor, preprocess_ops
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from atomic import atomic_write
from console import InputError, StageError, run, say
from dataset import label_map
from detection.detector import (
    ONE_STAGE,
    TWO_STAGE,
    Detector,
    NetworkInput,
    Proposals,
    write_detector,
)
from garden import operators
from garden.model import drop_background, load_detector
from garden.operators import Outputs

Specs = dict[str, tf.TensorSpec]

# Model Garden's first _cascade_layer_to_weights: what box codes of a box head are multiplied by.
_BOX_HEAD_SCALE = (10.0, 10.0, 5.0, 5.0)
_NAMES = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True, help="folder that train.py wrote")
    parser.add_argument(
        "--records", type=Path, required=True, help="folder that make_records.py wrote"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    export(arguments.train, arguments.records, arguments.output)


def export(train_dir: Path, records: Path, output: Path) -> None:
    """Write the exported files into ``output``; detector.json comes last and marks it whole.

    InputError when the folders do not hold a finished training and the records it was made from.
    """
    summary = _read_summary(train_dir)
    labels = _label_map_of(records, summary["classes"])
    experiment, model = load_detector(train_dir)
    detector = describe(experiment, summary)

    output.mkdir(parents=True, exist_ok=True)
    (output / "detector.json").unlink(missing_ok=True)
    if detector.kind == ONE_STAGE:
        drop_background(model.head, len(detector.classes))
        raw_heads = raw_heads_function(model, detector)
        _save(raw_heads, _picture_specs(detector), model, output / "raw_heads")
        find = one_stage_function(raw_heads, detector)
    else:
        write_two_networks(model, detector, output)
        find = two_stage_function(model, experiment, detector)
    photo = tf.TensorSpec([1, None, None, 3], tf.uint8)
    _save(find, {"inputs": photo}, model, output / "saved_model")
    with atomic_write(output / "frozen_inference_graph.pb") as path:
        path.write_bytes(frozen_graph(find, photo).SerializeToString())
    with atomic_write(output / "label_map.pbtxt") as path:
        shutil.copyfile(labels, path)
    write_detector(output, detector)
    say(f"exported {detector.name}: {', '.join(sorted(p.name for p in output.iterdir()))}")


def describe(experiment: Any, summary: dict[str, Any]) -> Detector:
    """The ``Detector`` of a Model Garden experiment; StageError where it cannot be exported."""
    config = experiment.task.model
    height, width = config.input_size[:2]
    generator = config.detection_generator
    if generator.soft_nms_sigma:
        raise StageError("soft NMS (soft_nms_sigma) cannot be exported; set it to null")
    stride = 2**config.max_level
    if height % stride or width % stride:
        raise StageError(
            f"the input of {height}x{width} pixels is not a multiple of {stride}, the stride of "
            f"level {config.max_level}; train with another input_size or a lower max_level"
        )
    one_stage = isinstance(config, retinanet.RetinaNet)
    anchors = _anchors(config)
    return Detector(
        kind=ONE_STAGE if one_stage else TWO_STAGE,
        name=str(summary.get("model") or experiment.task.name),
        classes=tuple(summary["classes"]),
        input=NetworkInput(
            height=height,
            width=width,
            mean=tuple(round(v, 6) for v in preprocess_ops.MEAN_RGB),
            std=tuple(round(v, 6) for v in preprocess_ops.STDDEV_RGB),
        ),
        score_threshold=generator.pre_nms_score_threshold,
        iou_threshold=generator.nms_iou_threshold,
        max_detections=generator.max_num_detections,
        pre_nms_top_k=generator.pre_nms_top_k,
        anchors=_flat(anchors, 4).numpy(),
        box_coder_scale=(*(generator.box_coder_weights or [1.0] * 4),)
        if one_stage
        else _BOX_HEAD_SCALE,
        scores="sigmoid" if one_stage or generator.use_sigmoid_probability else "softmax",
        proposals=None if one_stage else _proposals(config, anchors),
    )


def _proposals(config: Any, anchors: dict[str, tf.Tensor]) -> Proposals:
    """How a Faster R-CNN proposes regions; StageError for what is not built here."""
    rules = config.roi_generator
    if config.roi_sampler.cascade_iou_thresholds:
        raise StageError(
            "a cascade of box heads cannot be exported; set cascade_iou_thresholds off"
        )
    if rules.test_pre_nms_score_threshold or rules.test_pre_nms_min_size_threshold:
        raise StageError(
            "proposals are not filtered by score or size; set test_pre_nms_score_threshold and "
            "test_pre_nms_min_size_threshold of roi_generator to 0"
        )
    return Proposals(
        levels=tuple(int(tf.size(anchors[level])) // 4 for level in sorted(anchors, key=int)),
        pre_nms_top_k=rules.test_pre_nms_top_k,
        iou_threshold=rules.test_nms_iou_threshold,
        count=rules.test_num_proposals,
    )


def raw_heads_function(model: Any, detector: Detector) -> Callable[[tf.Tensor], Outputs]:
    """Picture, uint8 [1, H, W, 3] -> ``scores`` [1, N, C] after sigmoid, ``boxes`` [1, N, 4]."""

    def raw_heads(images: tf.Tensor) -> Outputs:
        features = model.backbone(operators.normalised(images, detector), training=False)
        if model.decoder is not None:
            features = model.decoder(features, training=False)
        logits, codes, _ = model.head(features, training=False)
        # Level by level, a convolution's activation: runtimes compute the two as one.
        scores = {level: tf.sigmoid(values) for level, values in logits.items()}
        scores, codes = _flat(scores, len(detector.classes)), _flat(codes, 4)
        if not len(scores) == len(codes) == len(detector.anchors):
            raise StageError(
                f"{len(scores)} rows of scores and {len(codes)} box codes for "
                f"{len(detector.anchors)} anchors"
            )
        # Not [None], which converters take for cutting something off, and copy.
        return {"scores": tf.expand_dims(scores, 0), "boxes": tf.expand_dims(codes, 0)}

    return raw_heads


def one_stage_function(
    raw_heads: Callable[[tf.Tensor], Outputs], detector: Detector
) -> Callable[[tf.Tensor], Outputs]:
    """Photo, uint8 [1, h, w, 3] -> detections, as ``detection.decoding`` finds them."""

    def find(inputs: tf.Tensor) -> Outputs:
        heads = raw_heads(operators.resized(inputs, detector))
        boxes = operators.decoded(heads["boxes"][0], detector)
        return operators.class_wise_nms(boxes, heads["scores"][0], detector)

    return find


def write_two_networks(model: Any, detector: Detector, output: Path) -> None:
    """Write raw_heads/ and box_head/ of a two-stage detector into ``output``."""
    proposing = proposing_function(model, detector)
    outputs = _save(proposing, _picture_specs(detector), model, output / "raw_heads")
    looked_at = _looked_at_specs(outputs, detector)
    _save(looking_function(model, detector), looked_at, model, output / "box_head")


def proposing_function(model: Any, detector: Detector) -> Callable[[tf.Tensor], Outputs]:
    """Picture, uint8 [1, H, W, 3] -> ``scores`` [1, N] after sigmoid and ``boxes`` [1, N, 4] of the
    region proposal network, and the features that the box head looks at, ``features_<level>``."""

    def propose(images: tf.Tensor) -> Outputs:
        features = model.backbone(operators.normalised(images, detector), training=False)
        if model.decoder is not None:
            features = model.decoder(features, training=False)
        scores, codes = model.rpn_head(features, training=False)
        named = {f"features_{level}": value for level, value in features.items()}
        return {
            "scores": tf.sigmoid(_flat(scores, 1)[None, :, 0]),
            "boxes": _flat(codes, 4)[None],
            **named,
        }

    return propose


def looking_function(model: Any, detector: Detector) -> Callable[..., Outputs]:
    """Features and ``proposals`` [1, R, 4] -> ``scores`` [1, R, C] after the activation and
    ``boxes`` [1, R, C, 4], codes relative to the proposals."""
    (head,) = model.detection_head
    activate = tf.sigmoid if detector.scores == "sigmoid" else tf.nn.softmax

    def look(proposals: tf.Tensor, **features: tf.Tensor) -> Outputs:
        levels = {name.removeprefix("features_"): value for name, value in features.items()}
        logits, codes = head(model.roi_aligner(levels, proposals), training=False)
        shape = [1, detector.proposals.count, -1, 4]
        codes = tf.reshape(codes, shape)
        if codes.shape[2] == 1:  # one box for whatever class it is
            codes = tf.repeat(codes, len(detector.classes) + 1, axis=2)
        # Class 0 is the background.
        return {"scores": activate(logits)[:, :, 1:], "boxes": codes[:, :, 1:]}

    return look


def two_stage_function(
    model: Any, experiment: Any, detector: Detector
) -> Callable[[tf.Tensor], Outputs]:
    """Photo, uint8 [1, h, w, 3] -> detections by the model's own second stage and NMS."""
    size = [detector.input.height, detector.input.width]
    anchors = {k: v[None] for k, v in _anchors(experiment.task.model).items()}

    def find(inputs: tf.Tensor) -> Outputs:
        images = operators.normalised(operators.resized(inputs, detector), detector)
        found = model.call(
            images,
            image_shape=tf.constant([size], tf.float32),
            anchor_boxes=anchors,
            training=False,
        )
        return {
            "detection_boxes": tf.clip_by_value(
                found["detection_boxes"] / tf.constant(size * 2, tf.float32), 0.0, 1.0
            ),
            "detection_scores": found["detection_scores"],
            "detection_classes": tf.cast(found["detection_classes"], tf.float32),
            "num_detections": tf.cast(found["num_detections"], tf.float32),
        }

    return find


def frozen_graph(
    find: Callable[[tf.Tensor], Outputs], photo: tf.TensorSpec
) -> tf.compat.v1.GraphDef:
    """``find`` as a TensorFlow 1 graph of constants with the Object Detection API's names."""

    def named(image_tensor: tf.Tensor) -> list[tf.Tensor]:
        outputs = find(image_tensor)
        return [outputs[name] for name in _NAMES]

    spec = tf.TensorSpec(photo.shape, photo.dtype, name="image_tensor")
    frozen = convert_variables_to_constants_v2(
        tf.function(named, input_signature=[spec]).get_concrete_function(),
        aggressive_inlining=True,
    )
    graph = tf.Graph()
    with graph.as_default():
        outputs = tf.graph_util.import_graph_def(
            frozen.graph.as_graph_def(),
            return_elements=[tensor.name for tensor in frozen.outputs],
            name="",
        )
        for name, tensor in zip(_NAMES, outputs):
            tf.identity(tensor, name=name)
    # Keras leaves placeholders of its own behind, which readers of the graph take for inputs.
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(_NAMES))


def _anchors(config: Any) -> dict[str, tf.Tensor]:
    """Per level: [rows, columns, 4 * anchors per place] in pixels of the input."""
    return anchor.build_anchor_generator(
        min_level=config.min_level,
        max_level=config.max_level,
        num_scales=config.anchor.num_scales,
        aspect_ratios=config.anchor.aspect_ratios,
        anchor_size=config.anchor.anchor_size,
    )(image_size=config.input_size[:2])


def _flat(levels: dict[str, tf.Tensor], depth: int) -> tf.Tensor:
    """[N, depth] from one [..., places * depth] tensor a level, finest level first."""
    return tf.concat(
        [tf.reshape(levels[level], [-1, depth]) for level in sorted(levels, key=int)], axis=0
    )


def _picture_specs(detector: Detector) -> Specs:
    return {"images": tf.TensorSpec([1, detector.input.height, detector.input.width, 3], tf.uint8)}


def _looked_at_specs(outputs: Specs, detector: Detector) -> Specs:
    """What the box head takes: the features that the first network gives, and the proposals."""
    features = {name: spec for name, spec in outputs.items() if name.startswith("features_")}
    return {**features, "proposals": tf.TensorSpec([1, detector.proposals.count, 4], tf.float32)}


def _save(function: Callable[..., Outputs], arguments: Specs, model: Any, folder: Path) -> Specs:
    """Write ``function`` of the named ``arguments`` as a SavedModel; returns its outputs."""
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in arguments.items()]

    def of_names(*values: tf.Tensor) -> Outputs:
        return function(**dict(zip(arguments, values)))

    signature = tf.function(of_names, input_signature=named).get_concrete_function()
    module = tf.Module()
    # Only the variables: with the model itself, Keras would trace every layer once more.
    module.weights = model.variables
    with _whole_folder(folder) as temporary:
        tf.saved_model.save(module, str(temporary), signatures={"serving_default": signature})
    return dict(signature.structured_outputs)


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of ``folder`` when all went well."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        made = temporary / folder.name
        yield made
        if folder.exists():
            shutil.rmtree(folder)
        made.replace(folder)
    finally:
        shutil.rmtree(temporary)


def _read_summary(train_dir: Path) -> dict[str, Any]:
    path = train_dir / "train.json"
    try:
        summary = json.loads(path.read_text("utf-8"))
        classes = summary["classes"]
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file. Give the folder of a training that has finished."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error!r}). Train again.") from None
    if not isinstance(classes, list) or not classes:
        raise InputError(f"{path}: names no classes. Train again.")
    return summary


def _label_map_of(records: Path, classes: list[str]) -> Path:
    path = records / "label_map.pbtxt"
    ids = label_map.read(path)
    if list(ids) != classes or list(ids.values()) != list(range(1, len(classes) + 1)):
        raise InputError(
            f"{path}: holds the classes {ids}, but the training knew {classes}. "
            "Train again on these records, or give the records of that training."
        )
    return path


if __name__ == "__main__":
    run(main)
