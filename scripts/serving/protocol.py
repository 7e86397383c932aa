"""The Open Inference Protocol, version 2, as pure functions: KServe's, Triton's, OpenVINO's.

Sources: "Open Inference Protocol", https://github.com/kserve/open-inference-protocol, and Triton's
"Binary Tensor Data Extension" for tensors as bytes behind the JSON part.

The model has one input and four outputs, without a batch dimension, because photos differ in size:

    image    UINT8 [height, width, 3]   RGB, upright; or BYTES [1], a JPEG, PNG or WebP file
    boxes    FP32 [N, 4]                xmin, ymin, xmax, ymax in pixels of the photo
    scores   FP32 [N]                   0 to 1, best first
    classes  INT32 [N]                  0-based
    labels   BYTES [N]                  the names of the classes
"""

from __future__ import annotations

import array
import itertools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from detection.detections import Detections

VERSION = "1"
INPUT = "image"
OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "boxes": ("FP32", [-1, 4]),
    "scores": ("FP32", [-1]),
    "classes": ("INT32", [-1]),
    "labels": ("BYTES", [-1]),
}


class RequestError(Exception):
    """A request that is not what the protocol or this model wants; one sentence for the client."""


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for.

    ``photo`` is uint8 [height, width, 3] or the bytes of an image file; ``outputs`` are pairs of a
    name and whether its data shall be binary; ``score_threshold`` is None where none was given.
    """

    id: str
    photo: Union[np.ndarray, bytes]
    outputs: tuple[tuple[str, bool], ...]
    score_threshold: Optional[float]


def server_metadata(version: str) -> dict[str, Any]:
    return {"name": "drydock", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, platform: str) -> dict[str, Any]:
    return {
        "name": name,
        "versions": [VERSION],
        "platform": platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, -1, 3]}],
        "outputs": [
            {"name": output, "datatype": datatype, "shape": shape}
            for output, (datatype, shape) in OUTPUTS.items()
        ],
    }


def parse_infer(body: bytes, json_length: Optional[str] = None) -> InferRequest:
    """The request in ``body``; ``json_length`` is the header Inference-Header-Content-Length.

    Raises RequestError for everything that is wrong with it.
    """
    end = _json_end(body, json_length)
    try:
        asked = json.loads(body[:end].decode("utf-8"))
    except (ValueError, RecursionError):
        raise RequestError("the request is not valid JSON") from None
    _require(isinstance(asked, dict), "the request must be a JSON object")
    inputs = asked.get("inputs")
    _require(
        isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict),
        f"'inputs' must be a list with one object, the input '{INPUT}'",
    )
    identifier = asked.get("id", "")
    _require(isinstance(identifier, str), "'id' must be a text")
    parameters = _parameters(asked, "the request")
    return InferRequest(
        id=identifier,
        photo=_photo(inputs[0], body[end:]),
        outputs=_outputs(asked.get("outputs"), bool(parameters.get("binary_data_output", False))),
        score_threshold=_threshold(parameters.get("score_threshold")),
    )


def render_infer(
    request: InferRequest, model: str, found: Detections, classes: Sequence[str]
) -> tuple[bytes, Optional[int]]:
    """The response's body and, where binary tensors follow the JSON part, that part's length."""
    tensors = {
        "boxes": found.boxes.astype("<f4"),
        "scores": found.scores.astype("<f4"),
        "classes": found.classes.astype("<i4"),
        "labels": [classes[index] for index in found.classes],
    }
    outputs, binary = [], []
    for name, as_binary in request.outputs:
        tensor = tensors[name]
        shape = [len(tensor)] if isinstance(tensor, list) else list(tensor.shape)
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name][0], "shape": shape}
        if as_binary:
            data = _texts(tensor) if isinstance(tensor, list) else tensor.tobytes()
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            output["data"] = tensor if isinstance(tensor, list) else tensor.ravel().tolist()
        outputs.append(output)
    response: dict[str, Any] = {"model_name": model, "model_version": VERSION, "outputs": outputs}
    if request.id:
        response["id"] = request.id
    head = json.dumps(response, ensure_ascii=False).encode()
    return b"".join([head, *binary]), len(head) if binary else None


def _json_end(body: bytes, json_length: Optional[str]) -> int:
    if json_length is None:
        return len(body)
    # str.isdigit alone takes digits of other scripts too.
    is_number = json_length.isascii() and json_length.isdigit() and len(json_length) < 20
    _require(
        is_number and int(json_length) <= len(body),
        "the header Inference-Header-Content-Length must be the number of bytes of the JSON part",
    )
    return int(json_length)


def _photo(given: dict[str, Any], binary: bytes) -> Union[np.ndarray, bytes]:
    _require(given.get("name") == INPUT, f"this model has one input, '{INPUT}'")
    size = _parameters(given, f"the input '{INPUT}'").get("binary_data_size")
    if size is None:
        _require(not binary, "there are bytes behind the JSON part that no input names")
    else:
        _require(
            _is_count(size) and size == len(binary),
            f"'binary_data_size' does not fit the {len(binary)} bytes behind the JSON part",
        )
        _require("data" not in given, "an input has either 'data' or 'binary_data_size'")
    if given.get("datatype") == "BYTES":
        _require(
            given.get("shape") in ([1], [1, 1]) and size is not None,
            f"'{INPUT}' as BYTES must have shape [1] and be sent as binary data",
        )
        return _only_text(binary)
    _require(given.get("datatype") == "UINT8", f"'{INPUT}' must be UINT8, or BYTES with a file")
    height, width = _shape(given.get("shape"))
    if size is not None:
        _require(size == height * width * 3, f"'shape' does not fit the {size} bytes of data")
        return np.frombuffer(binary, np.uint8).reshape(height, width, 3)
    return _pixels(given.get("data"), height, width)


def _shape(shape: Any) -> tuple[int, int]:
    if isinstance(shape, list) and len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]  # a batch of one
    _require(
        isinstance(shape, list)
        and len(shape) == 3
        and all(_is_count(side) and side > 0 for side in shape)
        and shape[2] == 3,
        f"the shape of '{INPUT}' must be [height, width, 3]",
    )
    return shape[0], shape[1]


def _pixels(data: Any, height: int, width: int) -> np.ndarray:
    try:
        while data and isinstance(data[0], list):  # flat or nested: both are allowed
            data = list(itertools.chain.from_iterable(data))
        # Not np.array(): of texts it makes an array of the longest one's size.
        pixels = np.frombuffer(array.array("B", data), np.uint8)
    except (TypeError, KeyError, OverflowError):
        raise RequestError(
            f"the data of '{INPUT}' must be a list of whole numbers from 0 to 255"
        ) from None
    _require(
        pixels.size == height * width * 3, f"'shape' does not fit the {pixels.size} numbers of data"
    )
    return pixels.reshape(height, width, 3)


def _only_text(binary: bytes) -> bytes:
    """The one element of a BYTES tensor: four bytes of length (little endian), then itself."""
    length = struct.unpack("<I", binary[:4])[0] if len(binary) >= 4 else -1
    _require(length == len(binary) - 4, "a BYTES element must begin with its length in four bytes")
    return binary[4:]


def _texts(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _outputs(asked: Any, binary: bool) -> tuple[tuple[str, bool], ...]:
    if not asked and asked in (None, []):
        return tuple((name, binary) for name in OUTPUTS)
    _require(
        isinstance(asked, list)
        and all(isinstance(one, dict) and one.get("name") in list(OUTPUTS) for one in asked),
        f"'outputs' may name {', '.join(OUTPUTS)}",
    )
    parameters = [_parameters(one, "an output") for one in asked]
    _require(
        not any("classification" in one for one in parameters),
        "the classification extension makes no sense for a detector",
    )
    return tuple(
        (one["name"], bool(own.get("binary_data", binary))) for one, own in zip(asked, parameters)
    )


def _parameters(given: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = given.get("parameters", {})
    _require(isinstance(parameters, dict), f"'parameters' of {where} must be an object")
    return parameters


def _threshold(value: Any) -> Optional[float]:
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    _require(is_number and 0 <= value <= 1, "'score_threshold' must be a number from 0 to 1")
    return float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise RequestError(sentence)
