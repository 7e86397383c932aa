"""Which files a script is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.modules import source_files


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    files = {
        "stage.py": "import os\nfrom dataset.voc import parse\nfrom detection import nms\n",
        "console.py": "",
        "other.py": "",
        "dataset/__init__.py": "",
        "dataset/voc.py": "def parse():\n    from console import say\n",
        "dataset/unused.py": "",
        "detection/__init__.py": "",
        "detection/nms.py": "import dataset.voc\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_followed_into_packages_and_functions(scripts: Path) -> None:
    found = {str(p.relative_to(scripts)) for p in source_files(scripts / "stage.py", scripts)}

    assert found == {
        "stage.py",
        "console.py",
        "dataset/__init__.py",
        "dataset/voc.py",
        "detection/__init__.py",
        "detection/nms.py",
    }


def test_a_circle_of_imports_ends(scripts: Path) -> None:
    (scripts / "console.py").write_text("import stage\n")

    assert scripts / "stage.py" in source_files(scripts / "console.py", scripts)
