"""Make an ONNX network ready for ONNX Runtime, in 32 or 16 bits.

    python scripts/convert_onnx.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision fp16 --output converted

Writes model.onnx, which takes uint8 pixels, and build_engine.sh, which makes a TensorRT engine of
it: that has to be done on the device, for the GPU that is in it.
"""

from __future__ import annotations

from typing import Any

from atomic import atomic_write
from console import InputError, run, say
from conversion import Request, finish, request

_BUILD_ENGINE = """#!/bin/sh
# Makes model.engine for the NVIDIA GPU of this machine with TensorRT's own tool. Run it on the
# device (on a Jetson, trtexec is in /usr/src/tensorrt/bin):
#
#   sh build_engine.sh
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/src/tensorrt/bin
command -v trtexec >/dev/null || { echo "error: no trtexec here; install TensorRT" >&2; exit 3; }
trtexec --onnx=model.onnx --saveEngine=model.engine.partial FLAGS
mv model.engine.partial model.engine
"""


def main() -> None:
    convert(request(__doc__, onnx=True))


def convert(asked: Request) -> None:
    """Write model.onnx, build_engine.sh and what goes with them into ``asked.output``."""
    import onnx

    if asked.precision == "int8":
        raise InputError("--precision int8: for ONNX Runtime there are fp32 and fp16")
    assert asked.onnx is not None
    model = onnx.load(asked.onnx / "nhwc.onnx")
    if asked.precision == "fp16":
        model = in_16_bits(model)
    with atomic_write(asked.output / "model.onnx") as path:
        path.write_bytes(model.SerializeToString())
    flags = "--fp16" if asked.precision == "fp16" else "--noTF32"
    with atomic_write(asked.output / "build_engine.sh") as path:
        path.write_text(_BUILD_ENGINE.replace("FLAGS", flags), "utf-8")
    finish(asked)
    say(f"ONNX {asked.precision}: {model.ByteSize() / 1e6:.1f} MB")


def in_16_bits(model: Any) -> Any:
    """``model`` with 16-bit weights and arithmetic; what goes in and comes out stays as it is."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


if __name__ == "__main__":
    run(main)
