"""Modules that are read when something in them is first used."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def late(name: str) -> Any:
    """The module ``name``, which must exist; its code runs at the first use of what is in it."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
