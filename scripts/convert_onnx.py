"""Make an ONNX network ready for ONNX Runtime, in 32 or 16 bits.

    python scripts/convert_onnx.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision fp16 --output converted

Writes model.onnx, which takes uint8 pixels, and build_engine.sh, which makes a TensorRT engine of
it: that has to be done on the device, for the GPU that is in it. Of a two-stage detector,
box_head.onnx is the second network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atomic import atomic_write
from console import InputError, run, say
from conversion import Request, finish, request
from detection.detector import ONE_STAGE, TWO_STAGE

_BUILD_ENGINE = """#!/bin/sh
# Makes model.engine for the NVIDIA GPU of this machine with TensorRT's own tool. Run it on the
# device (on a Jetson, trtexec is in /usr/src/tensorrt/bin):
#
#   sh build_engine.sh
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/src/tensorrt/bin
command -v trtexec >/dev/null || { echo "error: no trtexec here; install TensorRT" >&2; exit 3; }
"""
_ENGINE = """\
trtexec --onnx={0}.onnx --saveEngine={0}.engine.partial {1}
mv {0}.engine.partial {0}.engine
"""


_LAYERS = ("Conv", "MatMul", "Gemm")
_ACTIVATIONS = {"Sigmoid", "Softmax"}
_MOVING = {"Concat", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}


def main() -> None:
    convert(request(__doc__, onnx=True, kinds=(ONE_STAGE, TWO_STAGE)))


def convert(asked: Request) -> None:
    """Write model.onnx, build_engine.sh and what goes with them into ``asked.output``."""
    import onnx

    if asked.precision == "int8":
        raise InputError("--precision int8: for ONNX Runtime there are fp32 and fp16")
    assert asked.onnx is not None
    names = {"nhwc.onnx": "model.onnx"}
    if asked.detector.kind == TWO_STAGE:
        names["box_head.onnx"] = "box_head.onnx"
    size = 0
    for source, name in names.items():
        network = onnx.load(asked.onnx / source)
        if asked.precision == "fp16":
            network = (layers_in_16_bits if name == "box_head.onnx" else in_16_bits)(network)
        with atomic_write(asked.output / name) as path:
            path.write_bytes(network.SerializeToString())
        size += network.ByteSize()
    flags = "--fp16" if asked.precision == "fp16" else "--noTF32"
    engines = "".join(_ENGINE.format(Path(name).stem, flags) for name in names.values())
    with atomic_write(asked.output / "build_engine.sh") as path:
        path.write_text(_BUILD_ENGINE + engines, "utf-8")
    finish(asked)
    say(f"ONNX {asked.precision}: {size / 1e6:.1f} MB")


def in_16_bits(model: Any) -> Any:
    """``model`` with 16-bit weights and arithmetic; what goes in and comes out stays as it is.

    Scores are made in 32 bits: near 1, many are the same in 16, and NMS would keep another box.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    exact = _making_scores(model.graph)
    converted = convert_float_to_float16(model, keep_io_types=True, node_block_list=exact)
    _drop_roundings(converted.graph, set(exact))
    return converted


def _making_scores(graph: Any) -> list[str]:
    """The names of the activations that give ``scores``, and of what moves these about."""
    made_by = {output: node for node in graph.node for output in node.output}
    found, queue = set(), ["scores"]
    while queue:
        node = made_by.get(queue.pop())
        if node is not None and node.op_type in _MOVING | _ACTIVATIONS:
            found.add(node.name)
            if node.op_type in _MOVING:
                queue += node.input
    return sorted(found)


def _drop_roundings(graph: Any, exact: set[str]) -> None:
    """What comes out of ``exact`` nodes the conversion rounds and widens again: do neither."""
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        rounding = made_by.get(node.input[0]) if node.op_type == "Cast" else None
        if rounding is not None and rounding.op_type == "Cast":
            source = made_by.get(rounding.input[0])
            if source is not None and source.name in exact:
                node.input[0] = rounding.input[0]


def layers_in_16_bits(model: Any) -> Any:
    """``model`` with its layers alone in 16 bits: their weights, what they read and multiply.

    What a box head does before them is finding its place in the features, and 16 bits cannot tell
    places beyond 2048 apart.
    """
    import numpy as np
    import onnx

    graph, nodes, cast = model.graph, [], {}
    weights = {tensor.name: tensor for tensor in graph.initializer}

    def narrow(name: str) -> str:
        """The 16-bit copy of a tensor, made where it is first wanted."""
        if name and name not in cast:
            cast[name] = f"{name}_16"
            if name in weights:
                value = onnx.numpy_helper.to_array(weights[name]).astype(np.float16)
                graph.initializer.append(onnx.numpy_helper.from_array(value, cast[name]))
            else:
                nodes.append(_cast(name, cast[name], onnx.TensorProto.FLOAT16))
        return cast.get(name, name)

    for node in list(graph.node):
        if node.op_type in _LAYERS:
            node.input[:] = [narrow(name) for name in node.input]
            (output,) = node.output
            node.output[0] = f"{output}_layer"
            nodes += [node, _cast(node.output[0], output, onnx.TensorProto.FLOAT)]
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return model


def _cast(source: str, target: str, kind: int) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], name=f"cast_to_{target}", to=kind)


if __name__ == "__main__":
    run(main)
