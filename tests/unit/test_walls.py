"""What goes onto devices stays readable for the oldest Python and free of heavy libraries."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.modules import source_files
from pipeline.package_folder import PROGRAMS as PACKED

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SHARED = sorted([*SCRIPTS.glob("detection/**/*.py"), *SCRIPTS.glob("dataset/**/*.py")])
PROGRAMS = [SCRIPTS / Path(program).name for program in PACKED]
ON_DEVICES = [
    *SHARED,
    *PROGRAMS,
    *sorted(SCRIPTS.glob("serving/**/*.py")),
    *sorted(SCRIPTS.glob("video/**/*.py")),
]
OWN = {"detection", "dataset", "console", "atomic"}
ALLOWED = {"numpy", "PIL", "lxml"}
# A runtime is the one place that knows its vendor's library, and HEIC needs a decoder.
EXCEPTIONS = {
    "detection/runtimes/tensorflow.py": {"tensorflow"},
    "detection/runtimes/openvino.py": {"openvino"},
    "detection/runtimes/openvino_2021.py": {"openvino", "libusb_package"},
    "detection/runtimes/onnx.py": {"onnxruntime"},
    "detection/runtimes/litert.py": {"ai_edge_litert"},
    "detection/runtimes/rknn1.py": {"rknn"},
    "detection/runtimes/rknnlite.py": {"rknnlite"},
    "detection/rknn_toolkit.py": {"rknn"},
    "detection/metrics.py": {"pycocotools"},  # evaluation only, which no device runs
    "detection/plots.py": {"matplotlib"},
    "dataset/image.py": {"pillow_heif"},
}


@pytest.mark.parametrize("path", ON_DEVICES, ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_it_parses_on_python_3_9(path: Path) -> None:
    ast.parse(path.read_bytes(), feature_version=(3, 9))


@pytest.mark.parametrize("path", SHARED, ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_it_imports_only_what_every_device_has(path: Path) -> None:
    allowed = OWN | ALLOWED | EXCEPTIONS.get(str(path.relative_to(SCRIPTS)), set())

    assert {name for name in imported(path) if name not in sys.stdlib_module_names} <= allowed


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_only_serving_takes_what_serving_needs() -> None:
    """Starting a web server's packages would cost the other programs a third of a second."""
    modules = source_files(SCRIPTS / "detect.py", SCRIPTS)

    assert not [path for path in modules if path.is_relative_to(SCRIPTS / "serving")]
