"""The page for people, in a browser: a photo is dropped, the camera runs, something goes wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
from browser import PROGRAM, Browser
from conftest import BOX, Server, encoded, scene
from PIL import Image

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium here")

STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("chromium")
    film = folder / "camera.mjpeg"
    film.write_bytes(encoded(scene().repeat(8, axis=0).repeat(8, axis=1), "JPEG") * 3)
    made = Browser(folder, film)
    yield made
    made.close()


def drop(browser: Browser, content: bytes, kind: str) -> None:
    data = base64.b64encode(content).decode()
    browser.run(
        f"""
        {{
          const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "dropped", {{ type: "{kind}" }}));
          window.dispatchEvent(new DragEvent("drop", {{ dataTransfer, cancelable: true }}));
        }}
        """
    )


def test_a_dropped_photo_gets_boxes_and_milliseconds(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/")
    assert browser.run("document.getElementById('classes').textContent") == "white, grey"

    drop(browser, encoded(scene().repeat(8, axis=0).repeat(8, axis=1)), "image/png")

    status = browser.until(f"{STATUS}.includes('object') && {STATUS}")
    assert status.startswith("1 object; ") and "ms to detect" in status
    cells = browser.run(
        "[...document.querySelectorAll('#found tbody td')].map((cell) => cell.textContent)"
    )
    assert cells == ["white", "0.90", ", ".join(str(8 * side) for side in BOX)]
    canvas = browser.run("document.getElementById('canvas').toDataURL()")
    drawn = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(canvas.partition(",")[2]))).convert("RGB")
    )
    assert drawn.shape == (320, 640, 3)
    # The box's left side, black and white before, has the class's colour now.
    left = drawn[BOX[1] * 8 + 60, BOX[0] * 8]
    assert int(left.max()) - int(left.min()) > 100


def test_a_lower_threshold_shows_more(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/")
    drop(browser, encoded(scene()), "image/png")
    browser.until(f"{STATUS}.startsWith('1 object')")

    browser.run(
        """
        const range = document.getElementById('threshold');
        range.value = 0.2;
        range.dispatchEvent(new Event('change'));
        """
    )

    browser.until(f"{STATUS}.startsWith('2 objects')")


def test_the_camera_is_watched_until_it_is_stopped(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.run("document.getElementById('camera').click()")

    assert "ms there and back" in browser.until(f"{STATUS}.includes('frames/s') && {STATUS}")
    assert browser.run("document.querySelector('#found tbody td').textContent") == "white"
    browser.run("document.getElementById('camera').click()")
    assert browser.run("document.getElementById('camera').textContent") == "Start the camera"


def test_what_is_no_photo_is_told_in_a_sentence(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/")

    drop(browser, b"hello", "text/plain")

    told = browser.until("document.querySelector('#status.error')?.textContent")
    assert told.startswith("this photo cannot be used: it is not a photo in a format")
