"""An ONNX network as the toolkits of NPUs want it: nothing but convolutions and what is between."""

from __future__ import annotations

from typing import Any

import numpy as np

from console import StageError
from detection.detector import Detector
from detection.levels import join

_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
# What may stand between a head's convolution, the concatenation of the levels, and the output.
_BEFORE_CONCAT = {"Reshape", "Transpose", "Sigmoid", "Squeeze", "Unsqueeze"}
_BEHIND_CONCAT = {"Reshape", "Sigmoid", "Slice", "Squeeze", "Unsqueeze"}
_DIFFERENCE = 1e-4  # between two ways to add the same numbers


def for_npu(network: Any, detector: Detector) -> Any:
    """``network`` (nchw.onnx of make_onnx.py) up to the last convolution of each head and level.

    Outputs are what ``detection.levels.join`` takes, in its order. Enlarging by repetition is one
    Resize instead of six-dimensional Tiles, which no NPU has; it stays 32-bit and opset 12.
    StageError where the network has not the form of a detector's heads, or where the result does
    not give what ``network`` gives.
    """
    import onnx

    inner = onnx.ModelProto()
    inner.CopyFrom(network)
    _enlarge_by_resize(inner.graph)
    _drop_layout_changes(inner.graph)
    ends = [*_levels(inner.graph, "scores"), *_levels(inner.graph, "boxes")]
    inner = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(inner)).extract_model(
        [inner.graph.input[0].name], ends
    )
    onnx.checker.check_model(inner, full_check=True)
    _check_same(network, inner, detector)
    return inner


def run(network: Any, picture: np.ndarray, detector: Detector) -> list[np.ndarray]:
    """All outputs of ``network`` for uint8 [1, H, W, 3], in 32 bits."""
    return runner(network, detector)(picture)


def runner(network: Any, detector: Detector) -> Any:
    """A function from uint8 [1, H, W, 3] to all outputs of ``network``, in 32 bits."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    mean, std = (
        np.array(values, np.float32) for values in (detector.input.mean, detector.input.std)
    )

    def call(picture: np.ndarray) -> list[np.ndarray]:
        planes = ((picture - mean) / std).transpose(0, 3, 1, 2)
        return session.run(None, {given.name: np.ascontiguousarray(planes, np.float32)})

    return call


def check_same_outputs(network: Any, other: Any) -> None:
    """StageError where two networks of the same input and outputs do not compute the same."""
    import onnxruntime

    (first, *found) = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (network, other)
    ]
    (given,) = first.get_inputs()
    values = np.random.default_rng(0).normal(size=given.shape).astype(np.float32)
    pairs = zip(*(session.run(None, {given.name: values}) for session in (first, *found)))
    apart = max(np.abs(one - another).max() for one, another in pairs)
    if not apart <= _DIFFERENCE:  # also for NaN
        raise StageError(f"rewritten for the toolkit, the network differs by {apart:g}")


def _levels(graph: Any, output: str) -> list[str]:
    """The convolutions' outputs that ``output`` concatenates, in order."""
    made_by = _made_by(graph)

    def back(name: str, through: set[str], to: str) -> Any:
        node = made_by.get(name)
        while node is not None and node.op_type in through:
            node = made_by.get(node.input[0])
        if node is None or node.op_type != to:
            found = "nothing" if node is None else node.op_type
            raise StageError(
                f"the network's '{output}' come from {found} where heads of a one-stage detector "
                f"have {to}: this toolkit cannot take it apart by levels"
            )
        return node

    concat = back(output, _BEHIND_CONCAT, "Concat")
    return [back(name, _BEFORE_CONCAT, "Conv").output[0] for name in concat.input]


def _enlarge_by_resize(graph: Any) -> None:
    """Transpose, Reshape, Tile, Reshape, Transpose that repeat rows and columns -> Resize."""
    from onnx import helper, numpy_helper

    made_by, users = _made_by(graph), _users(graph)
    constants = {one.name: one for one in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "Tile" or node.input[1] not in constants:
            continue
        repeats = numpy_helper.to_array(constants[node.input[1]]).tolist()
        chain = [made_by.get(node.input[0]), *_only_followers(node, users, 2)]
        first = made_by.get(chain[0].input[0]) if chain[0] is not None else None
        kinds = [one.op_type for one in (first, *chain) if one is not None]
        if kinds != ["Transpose", "Reshape", "Reshape", "Transpose"] or len(repeats) != 6:
            continue
        enlarged = chain[-1]
        if (_order(first), _order(enlarged)) != (_TO_NHWC, _TO_NCHW):
            continue
        name = f"{node.name}_resize"
        scales = np.array([1, 1, repeats[2], repeats[4]], np.float32)
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(0, np.float32), f"{name}_roi"))
        resize = helper.make_node(
            "Resize",
            [first.input[0], f"{name}_roi", f"{name}_scales"],
            list(enlarged.output),
            name=name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        graph.node.insert(list(graph.node).index(enlarged), resize)
        graph.node.remove(enlarged)


def _drop_layout_changes(graph: Any) -> None:
    """Where a change of layout undoes another, what comes behind takes what was before both."""
    made_by = _made_by(graph)
    same: dict[str, str] = {}
    for node in graph.node:
        before = made_by.get(node.input[0]) if node.op_type == "Transpose" else None
        if (
            before is not None
            and before.op_type == "Transpose"
            and [_order(before)[i] for i in _order(node)] == [0, 1, 2, 3]
        ):
            same[node.output[0]] = before.input[0]
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def _check_same(network: Any, inner: Any, detector: Detector) -> None:
    shape = (1, detector.input.height, detector.input.width, 3)
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    scores, boxes = run(network, picture, detector)
    found = join(run(inner, picture, detector), len(detector.classes))
    apart = max(np.abs(a[0] - b).max() for a, b in zip((scores, boxes), found))
    if not apart <= _DIFFERENCE:  # also for NaN
        raise StageError(f"taken apart by levels, the network differs by {apart:g} from itself")


def _made_by(graph: Any) -> dict[str, Any]:
    return {output: node for node in graph.node for output in node.output}


def _users(graph: Any) -> dict[str, list[Any]]:
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _only_followers(node: Any, users: dict[str, list[Any]], count: int) -> list[Any]:
    """The nodes behind ``node``, as long as each is the only one that uses what is before it."""
    found = []
    for _ in range(count):
        behind = users.get(node.output[0], [])
        if len(behind) != 1:
            break
        node = behind[0]
        found.append(node)
    return found


def _order(transpose: Any) -> list[int]:
    return list(transpose.attribute[0].ints)
