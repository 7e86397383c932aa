"""The page for people at /: a photo or the camera, with boxes and milliseconds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from starlette.responses import HTMLResponse

_FILE = Path(__file__).with_name("page.html")


def page(name: str, classes: Sequence[str]) -> HTMLResponse:
    """The page, allowed to run its own script and to talk to this server, and nothing else."""
    about = json.dumps({"name": name, "classes": list(classes)})
    # In a script element only this would end it.
    text = _FILE.read_text("utf-8").replace("{about}", about.replace("</", "<\\/"))
    policy = [
        "default-src 'none'",
        f"script-src {_hash(text, 'script')}",
        f"style-src {_hash(text, 'style')}",
        "connect-src 'self'",
        "img-src blob: data:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return HTMLResponse(text, headers={"Content-Security-Policy": "; ".join(policy)})


def _hash(text: str, element: str) -> str:
    found = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return f"'sha256-{digest}'"
