"""Convert an exported detector for the RK3399Pro with rknn-toolkit 1.7.

    python scripts/convert_rk3399pro.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision int8 --data data/images --output converted

Writes model.rknn, which takes uint8 pixels and gives the output of each head and level. fp16 and
int8 (8 bits with a zero point, calibrated on training photos). The network is first brought to the
form of ONNX 1.6 that this toolkit reads, in operators that its maker lists, and held against the
original one.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from console import InputError, StageError, run, say
from conversion import Request, calibration_set, finish, request
from npu_network import check_same_outputs, for_npu

# Opset 9, though the toolkit reads up to 12: its list of ONNX operators has Upsample, which newer
# opsets replaced by Resize. IR 4 came with it; ONNX 1.6 reads up to 6.
OPSET, IR_VERSION = 9, 4
# RKNN_OP_Support_V1.6.1.md, the last that names ONNX operators.
OPERATORS = frozenset(
    (
        *("AveragePool", "GlobalAveragePool", "Conv", "ConvTranspose", "MaxPool", "GlobalMaxPool"),
        *("Gemm", "MatMul", "Slice", "Split", "Concat", "Reshape", "Flatten", "Squeeze"),
        *("Transpose", "DepthToSpace", "SpaceToDepth", "Add", "Sum", "Sub", "Mul", "Div", "Relu"),
        *("Clip", "LeakyRelu", "Softmax", "PRelu", "Floor", "BatchNormalization", "LRN", "Tanh"),
        *("Elu", "Sigmoid", "Unsqueeze", "LogSoftmax", "Dropout", "InstanceNormalization", "Sqrt"),
        *("Log", "Cast", "Exp", "Identity", "Upsample", "ReduceMean", "ReduceMax", "ReduceMin"),
        *("ReduceSum", "Gather", "LSTM", "GRU"),
    )
)
_CALIBRATION_PHOTOS = 40


def main() -> None:
    convert(request(__doc__, onnx=True))


def convert(asked: Request) -> None:
    """Write model.rknn and what goes with it into ``asked.output``."""
    import onnx

    if asked.precision == "fp32":
        raise InputError("--precision fp32: the RK3399Pro has fp16 and int8")
    assert asked.onnx is not None
    network = for_toolkit_1(for_npu(onnx.load(asked.onnx / "nchw.onnx"), asked.detector))
    say(f"ONNX opset {OPSET}, {len(network.graph.node)} nodes, all of operators that it lists")
    rknn = toolkit_1()
    quantized = asked.precision == "int8"
    calibration = None
    with tempfile.TemporaryDirectory(prefix="rknn-") as folder:
        dataset = None
        if quantized:
            photos = calibration_set(asked, _CALIBRATION_PHOTOS)
            calibration = {"seed": asked.seed, "photos": list(photos.names)}
            calibration = {"method": "post-training, 8 bits with a zero point", **calibration}
            paths = [Path(folder, f"{number}.png") for number in range(len(photos.pictures))]
            for path, picture in zip(paths, photos.pictures):
                Image.fromarray(picture[0]).save(path)
            dataset = Path(folder, "photos.txt")
            dataset.write_text("".join(f"{path}\n" for path in paths), "utf-8")
        onnx.save(network, str(Path(folder, "network.onnx")))
        given = asked.detector.input
        options = {"quantized_dtype": "asymmetric_affine-u8"} if quantized else {}
        _must(
            rknn.config(
                mean_values=[list(given.mean)],
                std_values=[list(given.std)],
                reorder_channel="0 1 2",
                target_platform=["rk3399pro"],
                **options,
            ),
            "config",
        )
        _must(rknn.load_onnx(model=str(Path(folder, "network.onnx"))), "load_onnx")
        steps = {"dataset": str(dataset)} if dataset else {}
        _must(rknn.build(do_quantization=quantized, **steps), "build")
        _must(rknn.export_rknn(str(asked.output / "model.rknn")), "export_rknn")
    finish(asked, calibration)
    size = (asked.output / "model.rknn").stat().st_size
    say(f"RKNN {asked.precision} for RK3399Pro: {size / 1e6:.1f} MB")


def for_toolkit_1(network: Any) -> Any:
    """``network`` (of ``npu_network``) in opset 9, with listed operators only, and checked.

    StageError naming the operators that the toolkit does not list.
    """
    import onnx
    from onnx import helper, numpy_helper

    older = onnx.ModelProto()
    older.CopyFrom(network)
    constants = {one.name: numpy_helper.to_array(one) for one in older.graph.initializer}
    for node in older.graph.node:
        if node.op_type == "Clip" and not node.attribute:
            limits = zip(("min", "max"), node.input[1:])
            given = {name: float(constants[value]) for name, value in limits if value}
            node.attribute.extend(helper.make_attribute(*limit) for limit in given.items())
            del node.input[1:]
        elif node.op_type == "Resize":
            node.op_type = "Upsample"
            node.input[:] = [node.input[0], node.input[2]]
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("mode", "nearest"))
    check_operators(older)
    used = {name for node in older.graph.node for name in node.input}
    kept = [one for one in older.graph.initializer if one.name in used]
    del older.graph.initializer[:]
    older.graph.initializer.extend(kept)
    # What is inferred is of the newer form, and the toolkit infers by itself.
    del older.graph.value_info[:]
    del older.opset_import[:]
    older.opset_import.append(helper.make_opsetid("", OPSET))
    older.ir_version = IR_VERSION
    onnx.checker.check_model(older)
    check_same_outputs(network, older)
    return older


def check_operators(network: Any) -> None:
    """StageError naming what of ``network`` the toolkit's maker does not list."""
    unknown = sorted({node.op_type for node in network.graph.node} - OPERATORS)
    if unknown:
        raise StageError(f"rknn-toolkit 1.7 does not list the ONNX operators {', '.join(unknown)}")


def toolkit_1() -> Any:
    """An ``RKNN`` of rknn-toolkit 1.x; StageError where it is not installed."""
    try:
        importlib.metadata.version("rknn-toolkit")
        from rknn.api import RKNN
    except ImportError as error:
        raise StageError(
            "rknn-toolkit 1.7 is not in this environment, and on no package registry: its wheel "
            "comes from Rockchip's releases. docs/ROCKCHIP.md says how to bring it into the "
            f"environment 'rk3399pro'. ({error})"
        ) from None
    return RKNN()


def _must(failed: int, step: str) -> None:
    if failed:
        raise StageError(f"rknn-toolkit: {step} failed ({failed}); what it said stands above")


if __name__ == "__main__":
    run(main)
