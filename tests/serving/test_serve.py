"""What serve.py is told on its command line, before there is a service."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import REPOSITORY

import serve

PROGRAM = REPOSITORY / "scripts" / "serve.py"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--score-threshold", "nan", "from 0 to 1"),
        ("--port", "65536", "from 0 to 65535"),
        ("--threads", "-1", "at least 0"),
        ("--max-requests", "0", "above 0"),
        ("--max-body", "nan", "above 0"),
        ("--max-body", "inf", "above 0"),
        ("--max-pixels", "-1", "above 0"),
    ],
)
def test_a_limit_that_is_none_is_refused(option: str, value: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--artifact=x", "--runtime=litert", f"{option}={value}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:8000/"), ("::1", "http://[::1]:8000/")]
)
def test_the_address_that_is_shown_can_be_opened(host: str, shown: str) -> None:
    assert serve.address(host, 8000) == shown
