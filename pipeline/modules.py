"""Which files of ``scripts/`` a script is made of: itself and what it imports from there."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path


def source_files(script: Path, folder: Path) -> list[Path]:
    """The script and, transitively, every module below ``folder`` that it imports, sorted.

    Imports are read from the source (inside functions too), so nothing is executed. A runtime
    chosen by a string at run time would be missed: scripts import such modules by name.
    """
    found: set[Path] = set()
    queue = [script]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found.add(path)
        about = path.stat()
        for name in _imported_names(path, about.st_mtime_ns, about.st_size):
            queue.extend(_module_files(folder, name))
    return sorted(found)


@functools.cache
def _imported_names(path: Path, changed: int, size: int) -> frozenset[str]:
    """Parsed once for all stages of a command; a file with other times is another."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # `from garden import weights` names a module, `from garden.weights import load` not:
            # what is no file is dropped by _module_files.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_files(folder: Path, name: str) -> list[Path]:
    """The file of a dotted module below ``folder`` and the packages it lies in."""
    parts = name.split(".")
    if not (folder / parts[0]).is_dir() and not (folder / f"{parts[0]}.py").is_file():
        return []
    candidates = [folder.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    candidates += [
        folder.joinpath(*parts).with_suffix(".py"),
        folder.joinpath(*parts, "__init__.py"),
    ]
    return [path for path in candidates if path.is_file()]
