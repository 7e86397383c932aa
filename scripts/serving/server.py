"""uvicorn, made to lose no request when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from typing import Optional

import uvicorn

from console import InputError
from serving.app import Service, build

_LINGER_SECONDS = 0.2
_GRACE_SECONDS = 8  # container engines kill after ten
_CONNECTIONS = 512


class _Server(uvicorn.Server):
    """Going down in three steps: no new connections; a moment in which what comes on the open
    ones is answered and told to close; then wait for what is still being worked on.

    uvicorn itself closes connections that look idle at once, and with them a request that the
    client is just sending.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        self._service.draining = True
        await asyncio.sleep(0)  # takes in connections that are waiting to be accepted
        for server in self.servers:
            server.close()
        if self.server_state.connections:
            await asyncio.sleep(_LINGER_SECONDS)
        await super().shutdown(list(sockets or ()))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; InputError when that cannot be had. Port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host {host} --port {port}: {error.strerror or error}; choose another"
        ) from None
    return listening


def serve_until_stopped(service: Service, listening: socket.socket) -> None:
    """Serve until SIGTERM, or Ctrl-C, which is raised as KeyboardInterrupt at the end."""
    config = uvicorn.Config(
        build(service),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        # A client that uses a connection again while the server gives it up loses its request.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=_CONNECTIONS,
    )
    # uvicorn raises the signal once more when all is done; that is no reason to die of it.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.closing(listening):
            _Server(config, service).run([listening])
    finally:
        signal.signal(signal.SIGTERM, before)
