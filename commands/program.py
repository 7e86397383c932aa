"""invoke's own program, but what it cannot make out is told as all else that is wrong is."""

from __future__ import annotations

import contextlib
import difflib
import re
import signal
from collections.abc import Iterator

import invoke
from invoke.exceptions import ParseError

from pipeline import records
from pipeline.command_line import errors_told
from pipeline.configuration import ROOT
from pipeline.errors import InputError


class Program(invoke.Program):
    """What `./inv` runs. A mistyped command or option is one message and exit code 2."""

    def __init__(self, namespace: invoke.Collection) -> None:
        super().__init__(
            namespace=namespace, name="drydock", binary="./inv", binary_names=["inv", "./inv"]
        )

    def print_version(self) -> None:
        """The revision: there are no releases yet."""
        print(f"drydock {records.revision(ROOT)}")

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as __main__ left it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with errors_told():
            super().run(argv, exit)

    def parse_core(self, argv: list[str] | None) -> None:
        with self._understood():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        with self._understood():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        with self._understood():
            super().parse_cleanup()

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            command = error.context.name if error.context else None
            options = list(error.context.flags) if error.context else []
            known = list(self.parser.contexts) if hasattr(self, "parser") else []
            raise InputError(explained(str(error), command, options, known)) from None
        except ValueError as error:  # invoke makes numbers of what should be some
            wrong = re.search(r"'(.*)'", str(error))
            raise InputError(f"{wrong[1] if wrong else error}: a number is wanted") from None


def explained(said: str, command: str | None, options: list[str], known: list[str]) -> str:
    """invoke's message in words that say what to do.

    ``command`` is the one that was being read, with its ``options``; ``known`` are all commands.
    """
    where = f"./inv --help {command}" if command else "./inv --list"
    if unknown := re.fullmatch(r"No idea what '(.+)' is!", said):
        word = unknown[1]
        if word.startswith("-"):
            what = f"{word} is no option of {command}" if command else f"{word} is no option"
            return f"{what}{_meant(word, options)}; {where} shows them"
        return f"there is no command '{word}'{_meant(word, known)}; ./inv --list shows them"
    if lacking := re.fullmatch(r"Flag <Argument: ([\w-]+).*> needed value.*", said):
        return f"--{lacking[1]} wants a value; {where} says which"
    if lacking := re.fullmatch(r".* did not receive required positional arguments: (.*)", said):
        return f"{command} wants {lacking[1]}; {where} says what that is"
    return f"{said}; {where}"


def _meant(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f": did you mean {close[0]}?" if close else ""
