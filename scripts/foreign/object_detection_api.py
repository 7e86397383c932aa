"""Frozen graphs of the TensorFlow 1 Object Detection API: where in them the network lies.

Such a graph goes from a photo to detections. Its exporter (``exporter.py`` of the Object Detection
API) names what it builds by scopes, the same ones in all its versions for an SSD: a
``Preprocessor`` that resizes, the network, and a ``Postprocessor`` with the box coder (``Decode``),
the scores (``convert_scores``) and NMS for each class. Between them the graph is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from console import InputError

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
_ENCODED = ("encoded_image_string_tensor", "tf_example")
_DECODE = "Postprocessor/Decode"
_SCORES = "Postprocessor/convert_scores"
_NMS = tuple(f"NonMaxSuppressionV{version}" for version in (2, 3, 4, 5))


class NoHeadsError(Exception):
    """The graph is a detector, but its network cannot be taken out of it; says why."""


@dataclass(frozen=True)
class Heads:
    """Where the network of an SSD lies in its graph, and what the graph does with its outputs.

    ``pictures``, ``scores``, ``codes`` and ``anchors`` are names of tensors: the resized photos,
    float32 [1, height, width, 3] of 0 to 255; the scores after ``activation``, [1, N, background +
    C]; box codes and anchors, both [N, 4] of ymin, xmin, ymax, xmax (anchors normalised to 0..1).
    """

    pictures: str
    scores: str
    codes: str
    anchors: str
    height: int
    width: int
    activation: str
    background: int
    box_coder_scale: tuple[float, float, float, float]
    score_threshold: float
    iou_threshold: float
    most_of_a_class: int


def read_graph(path: Path) -> Any:
    """The ``GraphDef`` of a detector; InputError, saying what is wrong, for any other file."""
    try:
        content = path.read_bytes()
        graph = tf.compat.v1.GraphDef.FromString(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except DecodeError:
        graph = tf.compat.v1.GraphDef()
    if not graph.node:
        raise InputError(
            f"{path.name} is not a frozen TensorFlow graph, or only a part of one: "
            "frozen_inference_graph.pb of the Object Detection API is wanted, or the folder of a "
            "SavedModel."
        )
    names = {node.name for node in graph.node}
    missing = {
        source.lstrip("^").partition(":")[0] for node in graph.node for source in node.input
    } - names
    if missing:
        raise InputError(
            f"{path.name} is only a part of a graph: {len(missing)} of its nodes are missing, such "
            f"as {sorted(missing)[0]}. Copy it again, whole."
        )
    if absent := [name for name in OUTPUTS if name not in names]:
        raise InputError(
            f"{path.name} is a TensorFlow graph, but no detector of the Object Detection API: "
            f"it has no {', '.join(absent)}."
        )
    if encoded := names & set(_ENCODED):
        raise InputError(
            f"{path.name} takes encoded files ({sorted(encoded)[0]}). Export it again with "
            "--input_type image_tensor."
        )
    photos = [node.name for node in graph.node if _is_photo(node)]
    if len(photos) != 1:
        raise InputError(
            f"{path.name} has {len(photos)} inputs that take a photo (uint8); one is wanted, such "
            "as image_tensor."
        )
    return graph


def photo_input(graph: Any) -> str:
    """The name of the tensor that a photo goes into, uint8 [1, height, width, 3]."""
    return next(f"{node.name}:0" for node in graph.node if _is_photo(node))


def find_heads(graph: Any) -> Heads:
    """The heads of an SSD's graph; NoHeadsError where they are not where the API puts them."""
    nodes = _Nodes(graph)
    if any(name.startswith("SecondStage") for name in nodes.by_name):
        raise NoHeadsError("it has two stages (Faster R-CNN or R-FCN)")
    pictures, height, width = _pictures(nodes)
    activation = _activation(nodes)
    coordinates = nodes.get(f"{_DECODE}/get_center_coordinates_and_sizes/transpose")
    codes = nodes.get(f"{_DECODE}/transpose")
    score_threshold, iou_threshold, most = _suppression(nodes)
    return Heads(
        pictures=pictures,
        scores=f"{_SCORES}:0",
        codes=_tensor(codes.input[0]),
        anchors=_tensor(coordinates.input[0]),
        height=height,
        width=width,
        activation=activation,
        background=_background(nodes),
        box_coder_scale=_box_coder_scale(nodes),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        most_of_a_class=most,
    )


def network(graph: Any, heads: Heads) -> Any:
    """The part of ``graph`` from the resized pictures to the heads, as a ``GraphDef``.

    The pictures are a placeholder there, under the name that their tensor had.
    """
    start = heads.pictures.partition(":")[0]
    cut = tf.compat.v1.GraphDef()
    cut.versions.CopyFrom(graph.versions)
    for node in graph.node:
        if node.name == start:
            placeholder = cut.node.add(name=start, op="Placeholder")
            placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
        else:
            cut.node.add().CopyFrom(node)
    wanted = [name.partition(":")[0] for name in (heads.scores, heads.codes, heads.anchors)]
    part = tf.compat.v1.graph_util.extract_sub_graph(cut, wanted)
    if not any(node.name == start for node in part.node):
        raise NoHeadsError("its heads do not depend on the resized photo")
    return part


def with_every_score(graph: Any) -> Any:
    """A copy of ``graph`` whose NMS lets every score pass."""
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph)
    nodes = _Nodes(copy)
    for threshold in _score_thresholds(nodes):
        node = nodes.origin(threshold)
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(0)))
    return copy


class _Nodes:
    """A graph's nodes by name, with what leads to them and from them."""

    def __init__(self, graph: Any) -> None:
        self.by_name = {node.name: node for node in graph.node}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            for source in node.input:
                self._users.setdefault(source.partition(":")[0].lstrip("^"), []).append(node)

    def get(self, name: str) -> Any:
        if name not in self.by_name:
            raise NoHeadsError(f"it has no node {name}")
        return self.by_name[name]

    def users(self, name: str) -> list[Any]:
        return self._users.get(name, [])

    def source(self, tensor: str) -> Any:
        return self.by_name[tensor.partition(":")[0].lstrip("^")]

    def origin(self, tensor: str) -> Any:
        """The node that a tensor comes from, past those that hand it on as it is."""
        node = self.source(tensor)
        while node.op in ("Identity", "Enter"):
            node = self.source(node.input[0])
        return node

    def constant(self, tensor: str) -> Optional[np.ndarray]:
        """The value of a tensor that is a constant, None for others."""
        node = self.origin(tensor)
        return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None

    def within(self, scope: str, *ops: str) -> Iterator[Any]:
        return (
            node for name, node in self.by_name.items() if name.startswith(scope) and node.op in ops
        )


def _is_photo(node: Any) -> bool:
    return node.op == "Placeholder" and node.attr["dtype"].type == tf.uint8.as_datatype_enum


def _tensor(source: str) -> str:
    return source if ":" in source else f"{source}:0"


def _pictures(nodes: _Nodes) -> tuple[str, int, int]:
    """The tensor of the resized photos, and their height and width."""
    resizers = list(nodes.within("Preprocessor/", "ResizeBilinear"))
    if len(resizers) != 1:
        raise NoHeadsError(f"it has {len(resizers)} bilinear resizers in its Preprocessor, not one")
    (resizer,) = resizers
    if resizer.attr["align_corners"].b or resizer.attr["half_pixel_centers"].b:
        raise NoHeadsError("it aligns the corners or middles of pixels where it resizes")
    size = nodes.constant(resizer.input[1])
    if size is None:
        raise NoHeadsError("the size of its input depends on the photo")
    # Photo by photo in a loop: what each turn writes is put together behind it.
    node = resizer
    while node.op != "TensorArrayWriteV3":
        following = [
            user for user in nodes.users(node.name) if user.op in ("Squeeze", "TensorArrayWriteV3")
        ]
        if len(following) != 1:
            raise NoHeadsError("its Preprocessor does not collect the resized photos in a loop")
        (node,) = following
    array = nodes.source(nodes.source(node.input[0]).input[0])
    gathered = [
        one
        for one in nodes.within("Preprocessor/", "TensorArrayGatherV3")
        if nodes.source(one.input[0]) is array
    ]
    if len(gathered) != 1:
        raise NoHeadsError("its Preprocessor does not collect the resized photos in one tensor")
    return f"{gathered[0].name}:0", int(size[0]), int(size[1])


def _activation(nodes: _Nodes) -> str:
    node = nodes.get(_SCORES)
    while node.op in ("Reshape", "Identity"):
        node = nodes.source(node.input[0])
    if node.op not in ("Sigmoid", "Softmax"):
        raise NoHeadsError(f"its scores come from {node.op}, not from a sigmoid or a softmax")
    return str(node.op).lower()


def _background(nodes: _Nodes) -> int:
    """How many columns before those of the classes the scores have."""
    names = [_SCORES]
    while names:
        for user in nodes.users(names.pop(0)):
            if user.op == "Identity":
                names.append(user.name)
            if user.op in ("Slice", "StridedSlice"):
                begin = nodes.constant(user.input[1])
                if begin is not None and len(begin) == 3:
                    return int(begin[2])
    raise NoHeadsError("it does not slice the background off its scores")


def _box_coder_scale(nodes: _Nodes) -> tuple[float, float, float, float]:
    """What the four box codes are divided by, in the order of the codes."""
    parts = nodes.get(f"{_DECODE}/unstack")
    if sum(1 for _ in nodes.within(f"{_DECODE}/", "Exp")) != 2:
        raise NoHeadsError("its box coder is not that of Faster R-CNN")
    scale = []
    for index in range(4):
        part = parts.name if index == 0 else f"{parts.name}:{index}"
        divisors = [
            nodes.constant(user.input[1])
            for user in nodes.users(parts.name)
            if user.op == "RealDiv" and user.input[0] in (part, f"{parts.name}:{index}")
        ]
        scale.append(float(divisors[0]) if divisors and divisors[0] is not None else 1.0)
    return (scale[0], scale[1], scale[2], scale[3])


def _suppression(nodes: _Nodes) -> tuple[float, float, int]:
    """Thresholds of score and IoU, and how many of a class are kept."""
    found = set()
    thresholds = [nodes.constant(tensor) for tensor in _score_thresholds(nodes)]
    score = thresholds[0] if thresholds else None
    if any(other != score for other in thresholds):
        raise NoHeadsError("its classes have thresholds of their own")
    for node in nodes.within("Postprocessor/", *_NMS):
        iou = nodes.constant(node.input[3])
        most = nodes.constant(node.input[2])
        if most is None:  # the smaller of a constant and the number of boxes
            most = next(
                (
                    value
                    for source in nodes.source(node.input[2]).input
                    if (value := nodes.constant(source)) is not None
                ),
                None,
            )
        if len(node.input) > 5 and nodes.constant(node.input[5]):
            raise NoHeadsError("it uses soft NMS")
        if iou is None or score is None or most is None:
            raise NoHeadsError("the thresholds of its NMS are no constants")
        found.add((float(score), float(iou), int(most)))
    if len(found) != 1:
        raise NoHeadsError("it has no NMS for each class with the same thresholds for all")
    return found.pop()


def _score_thresholds(nodes: _Nodes) -> list[str]:
    """The tensors that say from which score on detections count, for each class one.

    The oldest NMS has no threshold of its own: there a filter stands before it.
    """
    suppressing = list(nodes.within("Postprocessor/", *_NMS))
    own = [node.input[4] for node in suppressing if len(node.input) > 4]
    filters = [
        node.input[1]
        for node in nodes.within("Postprocessor/", "Greater")
        if "FilterGreaterThan" in node.name
    ]
    return own if len(own) == len(suppressing) else filters
