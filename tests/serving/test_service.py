"""The service over real connections: photos, clients of the protocol, what is refused."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from conftest import BOX, REPOSITORY, Server, encoded, scene, start
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

import health

WHITE = {"class": "white", "score": 0.9, "box": [float(side) for side in BOX]}
MODEL = "/v2/models/white%20finder"
INFER = f"{MODEL}/infer"


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("JPEG", {"quality": 100}), ("WEBP", {"lossless": True})]
)
def test_a_photo_gives_its_detections(server: Server, form: str, options: dict) -> None:
    status, answer = server.json("POST", "/detect", encoded(scene(), form, **options))

    assert status == 200
    assert (answer["width"], answer["height"]) == (80, 40)
    assert answer["detections"] == [WHITE]
    assert set(answer["milliseconds"]) == {"decode", "detect"}


def test_a_photo_on_its_side_is_looked_at_upright(server: Server) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _, answer = server.json("POST", "/detect", encoded(scene(), "PNG", exif=exif))

    assert (answer["width"], answer["height"]) == (40, 80)
    assert answer["detections"][0]["box"] == [10, 20, 30, 60]


@pytest.mark.parametrize(("threshold", "count"), [("0.2", 2), ("0.5", 1), ("1", 0)])
def test_the_threshold_is_the_clients_choice(server: Server, threshold: str, count: int) -> None:
    path = f"/detect?score_threshold={threshold}"
    assert len(server.json("POST", path, encoded(scene()))[1]["detections"]) == count


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield made
    made.close()


def test_tritonclient_finds_the_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("white finder")
    assert client.is_model_ready("white finder", "1")
    assert not client.is_model_ready("another")
    about = client.get_server_metadata()
    assert (about["version"], about["extensions"]) == ("7", ["binary_tensor_data"])
    model = client.get_model_metadata("white finder")
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]}]
    assert [output["name"] for output in model["outputs"]] == [
        *("boxes", "scores", "classes", "labels")
    ]


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
def test_a_model_that_is_ready_names_itself(server: Server, path: str) -> None:
    assert server.json("GET", f"{path}/ready") == (200, {"name": "white finder", "ready": True})


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_pixels(client: triton.InferenceServerClient, binary: bool) -> None:
    given = triton.InferInput("image", [40, 80, 3], "UINT8")
    given.set_data_from_numpy(scene(), binary_data=binary)
    names = ("boxes", "scores", "classes", "labels")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    found = client.infer("white finder", [given], outputs=outputs, request_id="r1")

    assert found.get_response()["id"] == "r1"
    np.testing.assert_array_equal(found.as_numpy("boxes"), np.array([BOX], np.float32))
    np.testing.assert_allclose(found.as_numpy("scores"), [0.9])
    np.testing.assert_array_equal(found.as_numpy("classes"), [0])
    labels = [
        label if isinstance(label, str) else label.decode() for label in found.as_numpy("labels")
    ]
    assert labels == ["white"]


def test_tritonclient_sends_a_file(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([encoded(scene())], dtype=object))
    found = client.infer("white finder", [given], parameters={"score_threshold": 0.1})

    assert found.as_numpy("boxes").shape == (2, 4)


def test_tritonclient_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("image", [1, 2, 3, 3], "FP32")
    given.set_data_from_numpy(np.zeros([1, 2, 3, 3], np.float32))

    with pytest.raises(InferenceServerException, match="'image' must be UINT8"):
        client.infer("white finder", [given])
    with pytest.raises(InferenceServerException, match="there is one model here, 'white finder'"):
        client.infer("another", [given])


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels should begin."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


BAD = {
    "a bomb": (png_header(50_000, 50_000), 400, "claims"),
    "a smaller bomb": (png_header(8_000, 8_000), 400, "more than 50,000,000"),
    "half a photo": (encoded(scene(640, 480), "JPEG")[:3000], 400, "truncated"),
    "half a PNG": (png_header(640, 480), 400, "cannot be read"),
    "a text": (b"hello, detector\n" * 100, 400, "not a photo in a format that can be read"),
    "another format": (encoded(scene(), "TIFF"), 400, "not a photo in a format that can be read"),
    "nothing": (b"", 400, "empty"),
    "too much": (b"\xff\xd8" + bytes(200_000_000), 413, "4,194,304 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_photos_are_refused_with_one_sentence(server: Server, name: str) -> None:
    body, status, sentence = BAD[name]
    before = resident(server)

    got, headers, content = server.ask("POST", "/detect", body)

    assert got == status
    assert sentence in json.loads(content)["error"]
    assert str(REPOSITORY).encode() not in content and b"Traceback" not in content
    assert headers["content-type"] == "application/json"
    assert resident(server) < before + 40e6
    assert server.json("POST", "/detect", encoded(scene()))[1]["detections"] == [WHITE]


def resident(server: Server) -> float:
    """Bytes of memory that the service says it has."""
    return metrics(server)["process_resident_memory_bytes", ""]


def metrics(server: Server) -> dict[tuple[str, str], float]:
    """Values by name and labels, as "route=detect,status=200"."""
    text = server.ask("GET", "/metrics")[2].decode()
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_body_without_a_length_is_bounded_too(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(100_000)

    status, answer = server.json("POST", "/detect", parts())  # chunked

    assert (status, answer) == (413, {"error": "a body may have 4,194,304 bytes"})


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", INFER, b"{wrong", {}, 400),
        ("POST", INFER, b'{"inputs": []}', {}, 400),
        ("POST", INFER, b"{}", {"Inference_Header_Content_Length": "9"}, 400),
        ("POST", "/v2/models/x/infer", b"{}", {}, 404),
        ("POST", "/v2/models/white%20finder/versions/2/infer", b"{}", {}, 404),
        ("POST", "/detect", b"x", {"Content_Encoding": "gzip"}, 415),
        ("POST", "/detect", b"x", {"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ("POST", "/detect?score_threshold=high", b"x", {}, 400),
        ("POST", "/detect?score_threshold=nan", b"x", {}, 400),
        ("GET", "/detect", None, {}, 405),
        ("POST", "/metrics", b"x", {}, 405),
        ("GET", "/../../etc/passwd", None, {}, 404),
        ("GET", "/v2/models/%00/ready", None, {}, 404),
    ],
)
def test_bad_requests_are_refused_with_one_sentence(  # noqa: PLR0917
    server: Server, method: str, path: str, body: bytes, headers: dict, status: int
) -> None:
    got, answer = server.json(method, path, body, **headers)

    assert got == status
    assert list(answer) == ["error"] and 3 < len(answer["error"]) < 200


def test_who_sends_slowly_is_told_so(serve: Callable[..., Server]) -> None:
    slow = serve(BODY_SECONDS=0.3)
    connection = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=10)
    connection.putrequest("POST", "/detect")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"a few bytes")

    assert connection.getresponse().status == 408
    assert metrics(slow)["drydock_requests_taken", ""] == 0


def test_who_goes_away_leaves_nothing_behind(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/detect")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"a few bytes")
    time.sleep(0.2)
    assert metrics(server)["drydock_requests_taken", ""] == 1
    connection.close()

    deadline = time.monotonic() + 5
    while metrics(server)["drydock_requests_taken", ""]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failing_detector_is_told_without_its_secrets(serve: Callable[..., Server]) -> None:
    failing = serve(FAILS=1)

    status, answer = failing.json("POST", "/detect", encoded(scene()))

    assert status == 500
    assert answer == {"error": "the server failed on this request; its log says why"}
    failing.process.terminate()
    assert "RuntimeError: secret of" in failing.process.communicate()[1]


def test_more_than_it_can_hold_gets_503_and_when_to_come_again(
    serve: Callable[..., Server],
) -> None:
    small = serve(SECONDS=0.3, REQUESTS=2)
    answers = at_once(small, 8)

    statuses = sorted(status for status, _ in answers)
    assert statuses == [200] * 2 + [503] * 6
    assert {headers.get("retry-after") for status, headers in answers if status == 503} == {"1"}
    # It still answers who only asks how it is.
    assert small.json("GET", "/v2/health/live") == (200, {"live": True})
    counted = metrics(small)
    assert counted["drydock_requests_total", "route=detect,status=503"] == 6
    assert counted["drydock_request_seconds_count", "route=detect"] == 8
    assert counted["drydock_stage_seconds_count", "stage=detect"] == 2
    assert counted["drydock_stage_seconds_sum", "stage=detect"] > 0.6
    assert counted["drydock_objects_total", "class=white"] == 2


def at_once(server: Server, count: int) -> list[tuple[int, dict[str, str]]]:
    """Status and headers of photos that are sent at the same time; what fails is status 0."""
    answers: list[tuple[int, dict[str, str]]] = []
    photo = encoded(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))

    def one() -> None:
        try:
            answers.append(server.ask("POST", "/detect", photo)[:2])
        except ConnectionRefusedError:
            raise
        except OSError:
            answers.append((0, {}))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_sigterm_finishes_what_was_accepted(serve: Callable[..., Server]) -> None:
    busy = serve(SECONDS=0.2)
    answers: list[tuple[int, dict[str, str]]] = []
    sender = threading.Thread(target=lambda: answers.extend(at_once(busy, 8)))
    sender.start()
    while metrics(busy)["drydock_requests_taken", ""] < 8:
        time.sleep(0.01)

    busy.process.terminate()
    sender.join()

    assert [status for status, _ in answers] == [200] * 8
    assert busy.process.wait(timeout=5) == 0
    assert {headers["connection"] for _, headers in answers[2:]} == {"close"}


def test_sigterm_ends_an_idle_service_within_a_second() -> None:
    idle = start()
    kept = http.client.HTTPConnection("127.0.0.1", idle.port)
    kept.request("GET", "/v2/health/live")
    kept.getresponse().read()  # and the connection stays open

    began = time.monotonic()
    idle.process.terminate()

    assert idle.process.wait(timeout=5) == 0
    assert time.monotonic() - began < 1
    kept.close()


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    status, headers, content = server.ask("GET", "/")
    text = content.decode()

    assert status == 200
    assert "white finder" in text and '"grey"' in text
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", text)
    policy = headers["content-security-policy"]
    for element in ("script", "style"):
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def test_a_class_cannot_end_the_pages_script() -> None:
    from serving.page import page

    text = bytes(page("</script><b>", ["<!--</script>"]).body).decode()

    assert text.count("</script>") == 2
    about = re.search(r'id="about">(.*?)</script>', text, re.DOTALL)
    assert about and json.loads(about[1])["name"] == "</script><b>"


def test_health_is_asked_of_the_service(server: Server, tmp_path) -> None:
    assert health.ready(server.port)
    assert not health.ready(1)

    def process(number: int, *words: str) -> None:
        tmp_path.joinpath(str(number)).mkdir()
        tmp_path.joinpath(str(number), "cmdline").write_bytes("\0".join(words).encode() + b"\0")

    process(1, "/sbin/docker-init", "--", "/opt/drydock/run", "serve", "--port", "9")
    assert health.serving_port(tmp_path) is None
    process(7, "python", "/opt/drydock/scripts/serve.py", "--port", "8001", "--device=CPU")
    assert health.serving_port(tmp_path) == 8001


@pytest.mark.parametrize(
    ("words", "port"), [(("--port=81",), 81), ((), 8000), (("--portable", "5"), 8000)]
)
def test_the_port_is_read_as_the_service_reads_it(tmp_path, words: tuple, port: int) -> None:
    tmp_path.joinpath("12").mkdir()
    command = ("python", "/opt/drydock/scripts/serve.py", *words)
    tmp_path.joinpath("12", "cmdline").write_bytes("\0".join(command).encode())

    assert health.serving_port(tmp_path) == port


def test_photos_come_in_whatever_order(server: Server) -> None:
    """Many at once get each its own detections."""
    shifted = {left: np.roll(scene(), left - BOX[0], axis=1) for left in range(0, 40, 5)}
    found: dict[int, float] = {}

    def one(left: int) -> None:
        _, answer = server.json("POST", "/detect", encoded(shifted[left]))
        found[left] = answer["detections"][0]["box"][0]

    threads = [threading.Thread(target=one, args=(left,)) for left in shifted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {left: float(left) for left in shifted}


def test_under_load_nothing_is_lost_not_even_when_it_is_ended(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    loaded = serve(SECONDS=0.01, REQUESTS=12)
    for number in range(3):
        tmp_path.joinpath(f"{number}.jpg").write_bytes(encoded(scene(), "JPEG"))

    done = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "benchmarks" / "serve_load.py")),
            *(f"--port={loaded.port}", f"--photos={tmp_path}", "--clients=16", "--seconds=4"),
            f"--kill={loaded.process.pid}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    outcomes = json.loads(done.stdout)["outcomes"]
    assert outcomes["200"] > 16
    assert outcomes["503"] > 0
    assert outcomes["refused"] == 16
    assert loaded.process.wait(timeout=5) == 0
