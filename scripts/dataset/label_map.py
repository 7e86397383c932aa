"""``label_map.pbtxt``: class names and their ids from 1, in the Object Detection API's text format.

Format: ``item { id: 1 name: 'bolt' }`` for each class. TensorFlow is not needed to read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from atomic import atomic_write
from console import InputError
from dataset.image import shown

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | [,;]
      | (?P<mark>[{}:])
      | (?P<word>[A-Za-z0-9_.+-]+)
      | '(?P<single>(?:[^'\\\n]|\\.)*)' | "(?P<double>(?:[^"\\\n]|\\.)*)"
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}


def classes_of(names: Iterable[str]) -> list[str]:
    """Class names in the order of their ids (the first has id 1): sorted, each once."""
    return sorted(set(names))


def write(path: Path, classes: list[str]) -> None:
    """Write the names with ids from 1, laid out as the tutorial's own file."""
    items = []
    for number, name in enumerate(classes, start=1):
        quoted = name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        items.append(f"item {{\n    id: {number}\n    name: '{quoted}'\n}}")
    with atomic_write(path) as temporary:
        temporary.write_text("\n\n".join(items), encoding="utf-8")


def read(path: Path) -> dict[str, int]:
    """Names with their ids, in the order of the ids.

    As in the Object Detection API, ``display_name`` is the class name where an item has one.
    InputError when the file is missing, malformed, or gives a name or an id twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{shown(path)}: there is no such label map. xml_to_csv.py -l FOLDER writes one."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)}: cannot be read: {error}.") from None
    ids: dict[str, int] = {}
    for item in _items(text, path):
        name = item.get("display_name") or item.get("name")
        number = item.get("id", "")
        if not name or not re.fullmatch(r"[1-9]\d{0,5}", number, re.ASCII):
            raise _malformed(path, "every item needs a name and an id from 1")
        if name in ids or int(number) in ids.values():
            raise _malformed(path, f"item {number} ({name}) uses a name or id a second time")
        ids[name] = int(number)
    if not ids:
        raise _malformed(path, "it has no item")
    return dict(sorted(ids.items(), key=lambda pair: pair[1]))


def _items(text: str, path: Path) -> list[dict[str, str]]:
    tokens = _tokens(text, path)
    items: list[dict[str, str]] = []
    while tokens:
        if tokens.pop(0) != "item":
            raise _malformed(path, "it may hold nothing but `item { ... }`")
        if tokens and tokens[0] == ":":
            tokens.pop(0)
        if not tokens or tokens.pop(0) != "{":
            raise _malformed(path, "an item has no opening brace")
        fields: dict[str, str] = {}
        while tokens and tokens[0] != "}":
            if len(tokens) < 3 or tokens[1] != ":" or tokens[2] in ("{", "}", ":"):
                raise _malformed(path, f"`{tokens[0]}` is not followed by a plain value")
            fields[tokens[0]] = tokens[2].removeprefix("'")
            del tokens[:3]
        if not tokens:
            raise _malformed(path, "an item has no closing brace")
        tokens.pop(0)
        items.append(fields)
    return items


def _tokens(text: str, path: Path) -> list[str]:
    """Marks and words as they are; strings unescaped, with a leading quote to tell them apart."""
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            line = text.count("\n", 0, position) + 1
            raise _malformed(path, f"line {line} is not understood")
        position = match.end()
        found = match.groupdict()
        if found["mark"] or found["word"]:
            tokens.append(found["mark"] or found["word"])
        elif found["single"] is not None or found["double"] is not None:
            raw = found["single"] if found["single"] is not None else found["double"]
            tokens.append("'" + _unescaped(raw))
    return tokens


def _unescaped(raw: str) -> str:
    """Undo pbtxt's escapes; octal ones are bytes of UTF-8."""

    def one(match: re.Match[str]) -> bytes:
        code = match.group(1)
        if code[0] in "01234567":
            return bytes([int(code, 8) & 0xFF])
        return _LETTERS.get(code, code).encode()

    parts, position = [], 0
    for match in _ESCAPE.finditer(raw):
        parts += [raw[position : match.start()].encode(), one(match)]
        position = match.end()
    return b"".join([*parts, raw[position:].encode()]).decode("utf-8", "replace")


def _malformed(path: Path, what: str) -> InputError:
    return InputError(f"{shown(path)}: {what}. Write it again with xml_to_csv.py -l FOLDER.")
