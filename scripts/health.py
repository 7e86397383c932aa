"""Is this container well? For its health check: exit code 0 where it is, 1 where it is not.

Where serve.py runs it is asked over HTTP whether it is ready. Where something else runs, such as
detect.py, running is all that can be asked of it, and process 1 would have ended.
"""

from __future__ import annotations

import http.client
import sys
from pathlib import Path
from typing import Optional

from serving import PORT

_SECONDS = 3.0


def main() -> None:
    port = serving_port(Path("/proc"))
    if port is not None and not ready(port):
        sys.exit(1)


def serving_port(processes: Path) -> Optional[int]:
    """The port of the serve.py that runs in this container; None where none does."""
    for file in processes.glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or is another user's
            continue
        if any(Path(word).name == "serve.py" for word in words[:3]):
            return _option(words, "--port")
    return None


def ready(port: int) -> bool:
    """Whether the service on loopback says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _option(words: list[str], name: str) -> int:
    for word, following in zip(words, [*words[1:], ""]):
        value = following if word == name else word[len(name) + 1 :]
        if (word == name or word.startswith(f"{name}=")) and value.isdigit():
            return int(value)
    return PORT


if __name__ == "__main__":
    main()
