"""Turn the raw heads of an export into ONNX, which other vendors' toolchains start from.

    python scripts/make_onnx.py --export artifacts/default/export --output artifacts/default/onnx

Writes two networks with the outputs scores [1, N, C] and boxes [1, N, 4]:

nhwc.onnx  uint8 [1, H, W, 3], normalisation inside, opset 17: for ONNX Runtime
nchw.onnx  float32 [1, 3, H, W] of normalised pixels, opset 12, which the oldest toolkit still
           reads: toolchains fold mean and std of detector.json into the first layer themselves

Of a two-stage detector, nhwc.onnx has the features too, and box_head.onnx is the second network;
there is no nchw.onnx.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from console import InputError, StageError, run, say
from detection.detector import TWO_STAGE, WHOLE, Detector, read_detector, write_detector


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    make_onnx(given.export, given.output)


def make_onnx(export: Path, output: Path) -> None:
    """Write the networks and what goes with them; InputError for what has no raw heads."""
    detector = read_detector(export)
    if detector.kind == WHOLE:
        raise InputError(f"{export}: {detector.name} has no raw heads ({detector.kind}).")
    output.mkdir(parents=True, exist_ok=True)
    networks = {"nhwc.onnx": to_onnx(export / "raw_heads", 17)}
    if detector.kind == TWO_STAGE:
        networks["box_head.onnx"] = to_onnx(export / "box_head", 17)
    else:
        opset_12 = to_onnx(export / "raw_heads", 12)
        networks["nchw.onnx"] = without_normalisation(opset_12, detector)
    for name, network in networks.items():
        with atomic_write(output / name) as path:
            path.write_bytes(network.SerializeToString())
    write_detector(output, detector)
    say(f"ONNX: {', '.join(sorted(path.name for path in output.glob('*.onnx')))}")


def to_onnx(raw_heads: Path, opset: int) -> Any:
    """The SavedModel as an ``onnx.ModelProto``, its inputs and outputs under their own names."""
    import tensorflow as tf
    import tf2onnx

    model = tf.saved_model.load(str(raw_heads))  # must outlive its signature
    signature = model.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    function = tf.function(lambda *values: signature(**dict(zip(specs, values))))
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    network, _ = tf2onnx.convert.from_function(function, input_signature=named, opset=opset)
    return network


def without_normalisation(network: Any, detector: Detector) -> Any:
    """The part of ``network`` behind normalisation and layout change: float32 [1, 3, H, W] in.

    Everything up to the first convolution is the pixels' type, mean, deviation and order of axes.
    StageError where something else stands there, which cutting would lose.
    """
    import onnx

    first = next((node for node in network.graph.node if node.op_type == "Conv"), None)
    if first is None:
        raise StageError("the network has no convolution")
    made_by = {output: node for node in network.graph.node for output in node.output}
    cut = first.input[0]
    before, name = [], cut
    while name in made_by:
        before.append(made_by[name].op_type)
        name = made_by[name].input[0]
    if not set(before) <= {"Cast", "Reshape", "Sub", "Div", "Mul", "Add", "Transpose"}:
        raise StageError(f"before the first convolution stand {', '.join(reversed(before))}")
    shape = [1, 3, detector.input.height, detector.input.width]
    inner = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(network)).extract_model(
        [cut], ["scores", "boxes"]
    )
    inner.graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)
    )
    for node in inner.graph.node:
        node.input[:] = ["images" if used == cut else used for used in node.input]
    onnx.checker.check_model(inner, full_check=True)
    return inner


if __name__ == "__main__":
    run(main)
