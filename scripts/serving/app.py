"""The service's addresses, as a Starlette application."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dataset.image import PhotoError, decode_photo
from detection.detections import Detections
from detection.listing import listed
from serving import protocol
from serving.measures import CONTENT_TYPE, Measures
from serving.middleware import TOO_SLOW, Gate
from serving.page import page
from serving.worker import Busy, Worker

# What cameras, phones and browsers send; each further decoder is a further way in.
_FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Limits:
    """What one client, or all together, may ask for."""

    body_bytes: int = 16 << 20
    body_seconds: float = 20.0  # for sending a body
    pixels: int = 50_000_000
    requests: int = 16  # being worked on or waiting for it


@dataclass(frozen=True)
class Model:
    """The detector and what clients see of it. ``runtime`` has ``detector`` and ``detect``."""

    runtime: Any
    name: str
    platform: str  # "openvino", as the protocol's metadata call it
    score_threshold: float
    version: str  # of the detector

    @property
    def classes(self) -> tuple[str, ...]:
        classes: tuple[str, ...] = self.runtime.detector.classes
        return classes


class Service:
    """What the addresses share."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self.worker = Worker(limits.requests)
        self.measures = Measures(lambda: self.worker.taken)
        self.draining = False  # going down: what is open is finished, nothing new is promised

    def detect(
        self, photo: Any, score_threshold: Optional[float]
    ) -> tuple[np.ndarray, Detections, dict[str, float]]:
        """Detect in pixels or in an image file: pixels, detections, milliseconds of each stage.

        PhotoError for a file that cannot be used. Runs in the worker.
        """
        threshold = self.model.score_threshold if score_threshold is None else score_threshold
        took: dict[str, float] = {}
        with self._timed("decode", took):
            if isinstance(photo, bytes):
                photo = decode_photo(photo, _FORMATS, self.limits.pixels)
        with self._timed("detect", took):
            found = self.model.runtime.detect(photo).above(threshold)
        for index in found.classes:
            self.measures.found(self.model.classes[index])
        return photo, found, took

    @contextmanager
    def _timed(self, stage: str, took: dict[str, float]) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        took[stage] = round(1000 * seconds, 2)
        self.measures.took(stage, seconds)


def build(service: Service) -> Starlette:
    """The application. Nothing runs before it is served."""

    def handler(function: Callable[..., Any]) -> Callable[[Request], Any]:
        @functools.wraps(function)
        async def call(request: Request) -> Response:
            answer: Response = await function(service, request)
            return answer

        return call

    def known(function: Callable[..., Any]) -> Callable[[Request], Any]:
        return handler(_for_this_model(function))

    model = "/v2/models/{model}"
    version = model + "/versions/{version}"
    routes = [
        Route("/", handler(_page)),
        Route("/detect", handler(_detect), methods=["POST"]),
        Route("/metrics", handler(_metrics)),
        Route("/v2", handler(_server)),
        Route("/v2/health/live", handler(_live)),
        Route("/v2/health/ready", handler(_ready)),
    ]
    for path in (model, version):
        routes += [
            Route(path, known(_model)),
            Route(path + "/ready", known(_model_ready)),
            Route(path + "/infer", known(_infer), methods=["POST"]),
        ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, service=service)],
        exception_handlers={
            HTTPException: _refused,
            protocol.RequestError: _wrong,
            PhotoError: _no_photo,
            Busy: _busy,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


def _for_this_model(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(service: Service, request: Request) -> Response:
        asked = request.path_params
        if asked["model"] != service.model.name:
            raise HTTPException(404, f"there is one model here, '{service.model.name}'")
        if asked.get("version", protocol.VERSION) != protocol.VERSION:
            raise HTTPException(404, f"this model has one version, '{protocol.VERSION}'")
        answer: Response = await function(service, request)
        return answer

    return call


async def _page(service: Service, request: Request) -> Response:
    return page(service.model.name, service.model.classes)


async def _metrics(service: Service, request: Request) -> Response:
    return Response(service.measures.page(), media_type=CONTENT_TYPE)


async def _live(service: Service, request: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(service: Service, request: Request) -> Response:
    return JSONResponse({"ready": not service.draining}, 503 if service.draining else 200)


async def _model_ready(service: Service, request: Request) -> Response:
    ready = not service.draining
    return JSONResponse({"name": service.model.name, "ready": ready}, 200 if ready else 503)


async def _server(service: Service, request: Request) -> Response:
    return JSONResponse(protocol.server_metadata(service.model.version))


async def _model(service: Service, request: Request) -> Response:
    return JSONResponse(protocol.model_metadata(service.model.name, service.model.platform))


async def _detect(service: Service, request: Request) -> Response:
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(
            415, "send the image file itself as the body: curl --data-binary @photo.jpg"
        )
    threshold = _share(request.query_params.get("score_threshold"))
    with service.worker.slot():
        content = await _body(request, service.limits)
        if not content:
            raise HTTPException(400, "the body must be an image file, and it is empty")
        answer = await service.worker.do(functools.partial(_detected, service, content, threshold))
    return Response(answer, media_type="application/json")


def _detected(service: Service, content: bytes, threshold: Optional[float]) -> bytes:
    photo, found, took = service.detect(content, threshold)
    answer = {
        "width": photo.shape[1],
        "height": photo.shape[0],
        "detections": listed(found, service.model.classes),
        "milliseconds": took,
    }
    return json.dumps(answer, ensure_ascii=False).encode()


async def _infer(service: Service, request: Request) -> Response:
    length = request.headers.get("inference-header-content-length")
    with service.worker.slot():
        content = await _body(request, service.limits)
        body, json_length = await service.worker.do(
            functools.partial(_inferred, service, content, length)
        )
    if json_length is None:
        return Response(body, media_type="application/json")
    return Response(
        body,
        media_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(json_length)},
    )


def _inferred(
    service: Service, content: bytes, length: Optional[str]
) -> tuple[bytes, Optional[int]]:
    asked = protocol.parse_infer(content, length)
    _, found, _ = service.detect(asked.photo, asked.score_threshold)
    return protocol.render_infer(asked, service.model.name, found, service.model.classes)


async def _body(request: Request, limits: Limits) -> bytes:
    """The request's body; HTTPException when it is too large, too slow or compressed."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "send the body without compression")
    too_large = HTTPException(413, f"a body may have {limits.body_bytes:,} bytes")
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limits.body_bytes:
        raise too_large

    async def whole() -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limits.body_bytes:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    try:
        return await asyncio.wait_for(whole(), limits.body_seconds)
    except asyncio.TimeoutError:
        raise HTTPException(
            TOO_SLOW, f"a body must come within {limits.body_seconds:g} s"
        ) from None


def _share(text: Optional[str]) -> Optional[float]:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise HTTPException(400, "'score_threshold' must be a number from 0 to 1")
    return value


def _error(status: int, sentence: str, headers: Optional[dict[str, str]] = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # The router itself says no more than the status' name.
    sentence = {
        "Not Found": "there is nothing at this address",
        "Method Not Allowed": f"this address does not take {request.method}",
    }.get(error.detail, error.detail)
    return _error(error.status_code, sentence, dict(error.headers or {}))


async def _wrong(request: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _no_photo(request: Request, error: Exception) -> Response:
    assert isinstance(error, PhotoError)
    return _error(400, f"this photo cannot be used: {error.reason}")


async def _busy(request: Request, error: Exception) -> Response:
    return _error(503, "all places are taken, try again", {"Retry-After": "1"})


async def _gone(request: Request, error: Exception) -> Response:
    return _error(400, "the body did not come to its end")  # nobody is left to read it


async def _failed(request: Request, error: Exception) -> Response:
    # What failed is for the log, where the server writes it.
    return _error(500, "the server failed on this request; its log says why")
