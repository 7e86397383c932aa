"""Around every request: count it, answer so that clients get the answer, close when going down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import MutableMapping
from typing import Any, Callable

Message = MutableMapping[str, Any]

TOO_SLOW = 408
# For reading the rest of a body that was refused.
_DISCARD_SECONDS = 5.0
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Gate:
    """ASGI middleware. ``service`` is an app.Service.

    A body that was not read is discarded before the answer: a client that is still sending when
    the connection closes loses the answer and sees a broken connection.
    """

    def __init__(self, app: Callable[..., Any], service: Any) -> None:
        self._app = app
        self._service = service

    async def __call__(
        self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        # Who expects 100-continue waits for it and sends nothing until it comes.
        waits = any(name == b"expect" for name, _ in scope["headers"])
        unread = scope["method"] in ("POST", "PUT", "PATCH") and not waits

        async def received() -> Message:
            nonlocal unread
            message: Message = await receive()
            unread = bool(message.get("more_body", False))
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if unread and status != TOO_SLOW:
                    await self._discard(received, lambda: unread)
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
                if self._service.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            endpoint = scope.get("endpoint")
            route = endpoint.__name__.strip("_") if endpoint else "none"
            self._service.measures.answered(route, status, time.perf_counter() - began)

    async def _discard(self, receive: Callable[..., Any], unread: Callable[[], bool]) -> None:
        async def rest() -> None:
            while unread():
                await receive()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rest(), _DISCARD_SECONDS)
