"""Frames of a video file, a camera or a stream, decoded in a thread of their own.

Of a file every frame comes, in order. Of what is live the newest comes and those before it are
dropped while the detector is busy: otherwise it would fall behind for ever.
"""

from __future__ import annotations

import queue
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from console import InputError, StageError
from dataset.folder import is_photo
from dataset.image import PhotoError, read_header, shown

STREAMS = ("rtsp", "rtsps", "http", "https", "udp", "tcp", "rtp", "srt")

_ANSWER_SECONDS = 10.0  # for an address to answer, and between two frames of what is live
_POLL_SECONDS = 0.1  # how soon a signal is noticed
_TOO_MANY_BROKEN = 250  # in a row: some ten seconds


@dataclass(frozen=True)
class Source:
    """What to open, and how: ``format`` is FFmpeg's, empty where the content tells."""

    name: str  # for people, without a password
    address: str
    live: bool
    format: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_camera(self) -> bool:
        """Whether it is one of this machine's own cameras."""
        return self.format == "v4l2"


@dataclass(frozen=True)
class Frame:
    """``pixels``: uint8 [height, width, 3], RGB, upright. ``number`` counts from 0 and counts what
    was dropped too; ``time`` is in seconds from the beginning of the video, None where it has none.
    """

    number: int
    time: Optional[float]
    pixels: np.ndarray


def is_moving(given: str) -> bool:
    """Whether ``given`` is an address, a device or a file that is no photo."""
    path = Path(given)
    if "://" in given:
        return True
    if not path.is_file():
        return path.exists() and not path.is_dir()
    if is_photo(path.name):
        return False
    try:
        read_header(path)
    except PhotoError:
        return True
    return False  # a photo by its content


def find(given: str, size: str = "") -> Source:
    """What ``given`` means: an address, a camera's device or a file; InputError where nothing.

    ``size``, as in 1280x720, is asked of a camera.
    """
    if size and not re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", size):
        raise InputError(f"--size {size}: width and height in pixels are wanted, as in 1280x720")
    scheme, separator, _ = given.partition("://")
    if separator:
        if scheme.lower() not in STREAMS:
            raise InputError(f"{without_password(given)}: an address begins with {_listed()}")
        # Over UDP, FFmpeg's default, cameras lose packets and pictures tear.
        options = (("rtsp_transport", "tcp"),) if scheme.lower().startswith("rtsp") else ()
        return Source(without_password(given), given, live=True, options=options)
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(
            f"{shown(given)}: {error.strerror}. Give a video file, a camera such as /dev/video0 or"
            f" an address that begins with {_listed()}"
        ) from None
    if stat.S_ISCHR(mode):
        options = (("video_size", size),) if size else ()
        return Source(given, given, live=True, format="v4l2", options=options)
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(given)}: this is neither a video file nor a camera")
    return Source(shown(given), given, live=False)


def without_password(address: str) -> str:
    """``address`` as it may be shown: without user and password, and what follows a "?".

    Passwords with "/" or "@" in them are hidden, too, and those that cameras want in the path.
    """
    shown = re.sub(r"(?<=://).*@", "...@", address)
    shown = re.sub(r"\?.*", "?...", shown)
    return re.sub(r"((?:pass|pwd)\w*=)[^&/]*", r"\1...", shown, flags=re.IGNORECASE)


def frames(source: Source, stop: Callable[[], bool]) -> Iterator[Frame]:
    """The frames of ``source`` until its end, or until ``stop()``.

    InputError when it cannot be opened or holds no video; StageError when what is live ends or
    falls silent.
    """
    waiting: queue.Queue[_Item] = queue.Queue(maxsize=1 if source.live else 4)
    closing = threading.Event()
    # A thread, because opening and reading wait in C, where no signal is noticed; it may be left
    # behind there.
    threading.Thread(target=_read, args=(source, waiting, closing), daemon=True).start()
    last = time.monotonic()
    try:
        while not stop():
            try:
                item = waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                # Opening has a limit of its own, which says more.
                if source.live and time.monotonic() - last > _ANSWER_SECONDS + 2:
                    raise StageError(f"{source.name}: no picture came any more") from None
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
            last = time.monotonic()
    finally:
        closing.set()


_Item = Union[Frame, Exception, None]  # None is the end


def _read(source: Source, waiting: queue.Queue[_Item], closing: threading.Event) -> None:
    try:
        for frame in _decoded(source, closing):
            _hand_over(frame, waiting, closing, source.live)
        end: _Item = StageError(f"{source.name}: it ended") if source.live else None
    except (InputError, StageError) as error:
        end = error
    except Exception as error:  # nothing else may end the thread in silence
        end = StageError(f"{source.name}: it cannot be read: {error}")
    _hand_over(end, waiting, closing, False)


def _hand_over(
    item: _Item, waiting: queue.Queue[_Item], closing: threading.Event, newest: bool
) -> None:
    while not closing.is_set():
        try:
            waiting.put(item, timeout=0 if newest else _POLL_SECONDS)
            return
        except queue.Full:  # noqa: PERF203
            if newest:
                _drop_one(waiting)


def _drop_one(waiting: queue.Queue[_Item]) -> None:
    try:
        waiting.get_nowait()
    except queue.Empty:
        return


def _decoded(source: Source, closing: threading.Event) -> Iterator[Frame]:
    av = _library()
    number, broken = 0, 0
    with _opened(av, source) as container:
        if not container.streams.video:
            raise InputError(f"{source.name}: there is no video in it")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for packet in container.demux(stream):
                if closing.is_set():
                    return
                try:
                    pictures = packet.decode()
                except av.error.InvalidDataError:
                    # As when one joins a stream between two whole pictures, or packets are lost.
                    broken += 1
                    if broken > _TOO_MANY_BROKEN:
                        raise
                    continue
                for picture in pictures:
                    broken = 0
                    yield Frame(number, picture.time, _upright(picture))
                    number += 1
        except av.FFmpegError as error:
            raise StageError(f"{source.name}: it cannot be read on: {_reason(av, error)}") from None
    if not number and not closing.is_set():
        raise InputError(f"{source.name}: no picture in it can be decoded")


def _opened(av: Any, source: Source) -> Any:
    try:
        return av.open(
            source.address,
            format=source.format or None,
            options=dict(source.options),
            timeout=_ANSWER_SECONDS if source.live else None,
        )
    except av.FFmpegError as error:
        raise InputError(f"{source.name}: it cannot be opened: {_reason(av, error)}") from None


def _reason(av: Any, error: Any) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no answer within {_ANSWER_SECONDS:g} s"
    return str(error.strerror or error)


def _upright(picture: Any) -> np.ndarray:
    """The pixels, turned as a player turns them: phones note how they were held."""
    pixels = picture.to_ndarray(format="rgb24")
    turns = round(getattr(picture, "rotation", 0) / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _library() -> Any:
    try:
        import av  # only what moves needs it
    except ModuleNotFoundError:
        raise InputError(
            "videos, cameras and streams take the package av, which this environment has not"
        ) from None
    return av


def _listed() -> str:
    return f"{', '.join(f'{scheme}://' for scheme in STREAMS[:-1])} or {STREAMS[-1]}://"
