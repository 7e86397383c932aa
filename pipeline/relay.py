"""Carries connections from a port of this host's loopback to a socket in a folder.

So a browser reaches what a container without any network serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import HostError

_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def relay(socket: Path, port: int, ready: Callable[[int], None]) -> Iterator[None]:
    """Relay in a thread until the end of the block; port 0 lets the system choose.

    ``ready`` is called once, in that thread, with the port when something answers at ``socket``.
    Raises HostError when the port is taken.
    """
    loop = asyncio.new_event_loop()
    try:
        server = loop.run_until_complete(
            asyncio.start_server(lambda *ends: _carry(socket, *ends), _LOOPBACK, port)
        )
    except OSError as error:
        loop.close()
        raise HostError(
            f"port {port} of this machine cannot be opened ({error.strerror}): choose another with"
            " --port"
        ) from None
    chosen = server.sockets[0].getsockname()[1]
    waiting = loop.create_task(_announce(socket, lambda: ready(chosen)))
    thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(waiting.cancel)
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end_all())
        loop.close()


async def _announce(socket: Path, ready: Callable[[], None]) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(socket))
            writer.close()
            ready()
            return
        await asyncio.sleep(0.1)


async def _carry(socket: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
    finally:
        writer.close()
        far_writer.close()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
