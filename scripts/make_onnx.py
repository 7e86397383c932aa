"""Turn the raw heads of an export into ONNX, which other vendors' toolchains start from.

    python scripts/make_onnx.py --export artifacts/default/export --output artifacts/default/onnx

Writes two networks with the outputs scores [1, N, C] and boxes [1, N, 4]:

nhwc.onnx  uint8 [1, H, W, 3], normalisation inside, opset 17: for ONNX Runtime
nchw.onnx  float32 [1, 3, H, W] of normalised pixels, opset 12, which the oldest toolkit still
           reads: toolchains fold mean and std of detector.json into the first layer themselves
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from console import InputError, StageError, run, say
from detection.detector import TWO_STAGE, Detector, read_detector, write_detector


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    make_onnx(given.export, given.output)


def make_onnx(export: Path, output: Path) -> None:
    """Write both networks and what goes with them; InputError for a two-stage detector."""
    detector = read_detector(export)
    if detector.kind == TWO_STAGE:
        raise InputError(f"{export}: {detector.name} is a two-stage detector; it has no raw heads.")
    output.mkdir(parents=True, exist_ok=True)
    raw_heads = export / "raw_heads"
    for name, network in (
        ("nhwc.onnx", to_onnx(raw_heads, 17)),
        ("nchw.onnx", without_normalisation(to_onnx(raw_heads, 12), detector)),
    ):
        with atomic_write(output / name) as path:
            path.write_bytes(network.SerializeToString())
    write_detector(output, detector)
    say(f"ONNX: {', '.join(sorted(path.name for path in output.glob('*.onnx')))}")


def to_onnx(raw_heads: Path, opset: int) -> Any:
    """The SavedModel as an ``onnx.ModelProto``: input ``images``, outputs ``scores``, ``boxes``."""
    import tensorflow as tf
    import tf2onnx

    model = tf.saved_model.load(str(raw_heads))  # must outlive its signature
    signature = model.signatures["serving_default"]
    spec = signature.structured_input_signature[1]["images"]
    function = tf.function(lambda images: signature(images=images))
    network, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=opset)
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
    if not set(before) <= {"Cast", "Sub", "Div", "Mul", "Add", "Transpose"}:
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
