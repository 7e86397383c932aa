"""The report is one page that needs nothing else, and invents nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from conftest import Project


class Page(HTMLParser):
    """The text and the addresses of a page; an element left open is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        assert tag != "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())


def report(project: Project) -> Page:
    done = project.invoke("report")
    assert done.returncode == 0, done.stderr
    return Page(project.artifact("default/report/index.html").read_text("utf-8"))


def test_it_shows_accuracy_devices_data_and_stages(trained: Project) -> None:
    trained.artifact("default/check/contact_sheet.jpg").write_bytes(b"\xff\xd8jpeg")
    trained.invoke("verify", "--runner", "local", "--target", "box")

    page = report(trained)

    for words in ("0.500", "nut", "verified (a crate)", "failed (a crate)", "evaluate"):
        assert words in page.words
    assert "box/int8 failed: they differ" in page.words
    assert all(address.startswith("data:image/") for address in page.addresses)


def test_figures_that_are_out_of_date_are_not_shown(trained: Project) -> None:
    script = trained.folder / "scripts" / "evaluate.py"
    script.write_text(script.read_text() + "\n")

    page = report(trained)

    assert "0.500" not in page.words
    assert any(re.match(r"Not current \(scripts/evaluate.py changed\)", one) for one in page.words)


def test_names_cannot_break_out_of_the_page(trained: Project) -> None:
    path = trained.artifact("default/evaluate/metrics.json")
    text = path.read_text().replace('"nut"', '"<script>alert(1)</script>"')
    script = trained.folder / "scripts" / "evaluate.py"
    script.write_text(script.read_text().replace('"nut"', '"<script>alert(1)</script>"'))
    trained.train()
    assert path.read_text() == text

    assert "<script>alert(1)</script>" in report(trained).words


def test_nothing_trained_nothing_reported(project: Project) -> None:
    done = project.invoke("report")

    assert done.returncode == 2
    assert "./inv train" in done.stderr
