"""What the pages say stays true: each command and option is there, each link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

import tasks

PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        REPOSITORY / "docker" / "README.md",
        REPOSITORY / "data" / "README.md",
    ]
)
COMMANDS = {
    name: set(context.flags)
    for context in tasks.namespace.to_contexts()
    for name in (context.name, *context.aliases)
}
BY_INVOKE = {"--help", "--list", "--debug"}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `./inv ...` and `inv ...` in code, and its words."""
    code = [*re.findall(r"^    (.*)$", text, re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]
    for line in code:
        if found := re.search(r"(?:^|[\s$(])(?:\./)?inv ([^#|;&]+)", line):
            yield line, found[1].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_and_options_are_there(page: Path) -> None:
    for line, (first, *further) in commands(page.read_text("utf-8")):
        if first.startswith("-") or first.isupper():
            continue
        assert first in COMMANDS, line
        ours = further[: further.index("--")] if "--" in further else further
        options = {word.partition("=")[0] for word in ours if word.startswith("--")}
        assert options <= COMMANDS[first] | BY_INVOKE, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
            assert anchor in [title.strip().replace(" ", "-") for title in words]


def test_the_map_shows_every_module() -> None:
    shown = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    missing = [
        str(path.relative_to(REPOSITORY))
        for folder in ("pipeline", "commands", "scripts")
        for path in (REPOSITORY / folder).glob("[a-z]*.py")
        if not re.search(rf"\b{path.name}", shown)
        and not (path.name.startswith("convert_") and "convert_*.py" in shown)
    ]
    assert missing == []


def test_what_is_checked_is_found() -> None:
    found = {words[0] for page in PAGES for _, words in commands(page.read_text("utf-8"))}

    assert {"train", "verify", "data.fetch", "images.build", "benchmark"} <= found
