"""Starts commands of copies of the project sooner: each in a process of its own, which is forked
from one that has loaded the libraries they need.

    python preloaded.py REPOSITORY

Reads a JSON object a line (arguments, folder, environment, files for stdout and stderr) and answers
each with the command's exit code. Without it half of a short command's time goes into loading
invoke, rich and msgspec.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys


def load_libraries(repository: str) -> None:
    """Import what commands do, and forget what is the project's own: each copy brings its own."""
    sys.path[0] = repository
    import rich.console
    import rich.table  # noqa: F401

    import tasks
    from pipeline import benchmarking, importing, shipping

    for late in (tasks.namespace, benchmarking.benchmark, importing.import_model, shipping.pack):
        assert late
    for name in list(sys.modules):
        if name.partition(".")[0] in ("tasks", "commands", "pipeline"):
            del sys.modules[name]
    gc.collect()
    gc.freeze()  # a collection in a child need not look at, and so copy, what is shared


def become(arguments: list[str], folder: str, environ: dict[str, str], files: list[str]) -> None:
    """Be the command, until it exits."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in enumerate((os.devnull, *files)):
        opened = os.open(path, flags if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.argv = ["commands", *arguments]
    runpy.run_path("commands", run_name="__main__")


if __name__ == "__main__":
    load_libraries(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
