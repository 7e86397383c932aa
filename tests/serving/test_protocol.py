"""The Open Inference Protocol as bytes: what is read, what is refused, what is written."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from conftest import scene

from detection.detections import Detections
from serving.protocol import InferRequest, RequestError, parse_infer, render_infer

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
NAMES = ("boxes", "scores", "classes", "labels")


def image(**changes: object) -> dict[str, object]:
    """The input of a request, as JSON."""
    given = {"name": "image", "datatype": "UINT8", "shape": [2, 3, 3]}
    given |= {"data": PIXELS.ravel().tolist()} | changes
    return {name: value for name, value in given.items() if value is not None}


def request(*, binary: bytes = b"", inputs: object = None, **changes: object) -> tuple[bytes, str]:
    """A body, and the length of its JSON part."""
    head = json.dumps({"inputs": [image()] if inputs is None else inputs, **changes}).encode()
    return head + binary, str(len(head))


def test_flat_nested_and_binary_pixels_are_the_same() -> None:
    size = {"binary_data_size": PIXELS.size}
    binary = request(inputs=[image(data=None, parameters=size)], binary=PIXELS.tobytes())
    bodies = [
        request(),
        request(inputs=[image(data=PIXELS.tolist())]),
        request(inputs=[image(data=[PIXELS.tolist()], shape=[1, 2, 3, 3])]),
        binary,
    ]

    for body, length in bodies:
        photo = parse_infer(body, length).photo
        assert isinstance(photo, np.ndarray) and photo.dtype == np.uint8
        np.testing.assert_array_equal(photo, PIXELS)


def test_a_file_comes_as_bytes_with_its_length_before_it() -> None:
    element = struct.pack("<I", 5) + b"a jpg"
    inputs = [image(data=None, datatype="BYTES", shape=[1], parameters={"binary_data_size": 9})]

    assert parse_infer(*request(inputs=inputs, binary=element)).photo == b"a jpg"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [(name, False) for name in NAMES]),
        ({"outputs": []}, [(name, False) for name in NAMES]),
        ({"parameters": {"binary_data_output": True}}, [(name, True) for name in NAMES]),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "scores", "parameters": {"binary_data": False}}],
            },
            [("scores", False)],
        ),
        (
            {"outputs": [{"name": "labels"}, {"name": "boxes"}]},
            [("labels", False), ("boxes", False)],
        ),
    ],
)
def test_outputs_are_those_asked_for_in_that_order(
    asked: dict[str, object], expected: list[tuple[str, bool]]
) -> None:
    assert list(parse_infer(*request(**asked)).outputs) == expected


def test_a_threshold_and_an_id_are_read() -> None:
    asked = parse_infer(*request(id="7", parameters={"score_threshold": 0.25}))

    assert (asked.id, asked.score_threshold) == ("7", 0.25)
    assert parse_infer(*request()).score_threshold is None


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"\xff\xfe", None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", None, "not valid JSON"),
        (b"[]", None, "must be a JSON object"),
        (b"{}", None, "'inputs' must be"),
        (b"{}", "3", "Inference-Header-Content-Length"),
        (b"{}", "-1", "Inference-Header-Content-Length"),
        (b"{}", "two", "Inference-Header-Content-Length"),
        (b"{}", "9" * 5000, "Inference-Header-Content-Length"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, length: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_infer(body, length)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": [image(), image()]}, "'inputs' must be"),
        ({"inputs": [1]}, "'inputs' must be"),
        ({"inputs": [image(name="x")]}, "one input, 'image'"),
        ({"inputs": [image(datatype="FP32")]}, "must be UINT8"),
        ({"inputs": [image(shape=None)]}, "the shape"),
        ({"inputs": [image(shape=[2, 3])]}, "the shape"),
        ({"inputs": [image(shape=[3, 2, 3, 3])]}, "the shape"),
        ({"inputs": [image(shape=[2, 3, 4])]}, "the shape"),
        ({"inputs": [image(shape=[0, 3, 3])]}, "the shape"),
        ({"inputs": [image(shape=[2.0, 3, 3])]}, "the shape"),
        ({"inputs": [image(shape=[10**9, 10**9, 3])]}, "'shape' does not fit"),
        ({"inputs": [image(data=None)]}, "whole numbers"),
        ({"inputs": [image(data="x" * 18)]}, "whole numbers"),
        ({"inputs": [image(data={"0": 1})]}, "whole numbers"),
        ({"inputs": [image(data=[256] * 18)]}, "whole numbers"),
        ({"inputs": [image(data=[-1] * 18)]}, "whole numbers"),
        ({"inputs": [image(data=[0.5] * 18)]}, "whole numbers"),
        ({"inputs": [image(data=["1"] * 18)]}, "whole numbers"),
        ({"inputs": [image(data=[[1, 2], 3])]}, "whole numbers"),
        ({"inputs": [image(data=[1, [2, 3]])]}, "whole numbers"),
        ({"inputs": [image(data=[float("nan")] * 18)]}, "whole numbers"),
        ({"inputs": [image(data=[1] * 17)]}, "'shape' does not fit"),
        ({"inputs": [image(datatype="BYTES", shape=[1])]}, "as BYTES"),
        ({"inputs": [image(parameters=[])]}, "'parameters'"),
        ({"inputs": [image(parameters={"binary_data_size": 18})]}, "does not fit"),
        ({"inputs": [image(parameters={"binary_data_size": -1})]}, "does not fit"),
        ({"binary": b"more"}, "no input names"),
        ({"outputs": [{"name": "masks"}]}, "'outputs' may name"),
        ({"outputs": [{"name": ["boxes"]}]}, "'outputs' may name"),
        ({"outputs": "boxes"}, "'outputs' may name"),
        ({"outputs": [{"name": "boxes", "parameters": {"classification": 3}}]}, "classification"),
        ({"id": 7}, "'id'"),
        ({"parameters": 7}, "'parameters'"),
        ({"parameters": {"score_threshold": 2}}, "'score_threshold'"),
        ({"parameters": {"score_threshold": True}}, "'score_threshold'"),
        ({"parameters": {"score_threshold": float("nan")}}, "'score_threshold'"),
    ],
)
def test_what_this_model_does_not_take_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_infer(*request(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("binary", [b"", b"\1\0", struct.pack("<I", 9) + b"short"])
def test_a_file_whose_length_is_wrong_is_refused(binary: bytes) -> None:
    size = {"binary_data_size": len(binary)}
    inputs = [image(data=None, datatype="BYTES", shape=[1], parameters=size)]

    with pytest.raises(RequestError, match="four bytes"):
        parse_infer(*request(inputs=inputs, binary=binary))


FOUND = Detections(
    np.array([[1, 2, 3, 4], [5, 6, 7.5, 8]], np.float32),
    np.array([1, 0], np.int32),
    np.array([0.75, 0.5], np.float32),
)


def render(found: Detections, *outputs: tuple[str, bool]) -> tuple[dict, bytes]:
    """The JSON part and the binary part of a response."""
    asked = InferRequest("a", scene(), outputs, None)
    body, length = render_infer(asked, "m", found, ("nut", "Ölkanne"))
    end = len(body) if length is None else length
    return json.loads(body[:end]), body[end:]


def test_a_response_in_json() -> None:
    head, binary = render(FOUND, *((name, False) for name in NAMES))

    assert not binary
    assert head == {
        "id": "a",
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {
                "name": "boxes",
                "datatype": "FP32",
                "shape": [2, 4],
                "data": [1, 2, 3, 4, 5, 6, 7.5, 8],
            },
            {"name": "scores", "datatype": "FP32", "shape": [2], "data": [0.75, 0.5]},
            {"name": "classes", "datatype": "INT32", "shape": [2], "data": [1, 0]},
            {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["Ölkanne", "nut"]},
        ],
    }


def test_a_response_with_binary_tensors_behind_the_json() -> None:
    head, binary = render(FOUND, ("scores", True), ("boxes", False), ("labels", True))

    labels = struct.pack("<I", 8) + "Ölkanne".encode() + struct.pack("<I", 3) + b"nut"
    assert binary == struct.pack("<2f", 0.75, 0.5) + labels
    assert [output.get("parameters") for output in head["outputs"]] == [
        {"binary_data_size": 8},
        None,
        {"binary_data_size": len(labels)},
    ]


def test_nothing_found_is_empty_tensors() -> None:
    none = FOUND.above(1.0)

    head, binary = render(none, ("boxes", True), ("labels", True), ("scores", False))
    assert binary == b""
    assert [output["shape"] for output in head["outputs"]] == [[0, 4], [0], [0]]
