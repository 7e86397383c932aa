"""A camera that speaks RTSP (RFC 2326) and sends H.264 over the same connection (RFC 6184).

Small pictures fit one packet each, so nothing is fragmented; that and one client at a time is all
it can do.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

_SDP = "\r\n".join(
    [
        *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "t=0 0", "m=video 0 RTP/AVP 96"),
        *("c=IN IP4 0.0.0.0", "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1"),
        *("a=control:video", ""),
    ]
)


class Camera:
    """Shows ``pixels`` at ``rate`` frames/s to whoever asks; hangs up after ``frames``."""

    def __init__(self, pixels: np.ndarray, rate: int = 20, frames: int = 10_000) -> None:
        self._pixels, self._rate, self._frames = pixels, rate, frames
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"rtsp://user:secret@127.0.0.1:{self._listening.getsockname()[1]}/live"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
                self._talk(connection)
            except OSError:  # noqa: PERF203 - a client that went away
                continue

    def _talk(self, connection: socket.socket) -> None:
        lines = connection.makefile("r", newline="\r\n")
        for line in lines:
            method = line.split()[0]
            headers = {}
            for header in iter(lines.readline, "\r\n"):
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            answer = [f"CSeq: {headers['cseq']}", "Session: 1"]
            body = ""
            if method == "DESCRIBE":
                body = _SDP
                answer += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            if method == "SETUP":
                answer.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            connection.sendall("\r\n".join(["RTSP/1.0 200 OK", *answer, "", body]).encode())
            if method == "PLAY":
                threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        sequence = 0
        try:
            for number, units in enumerate(self._encoded()):
                for unit in units:
                    last = unit is units[-1]
                    head = struct.pack(
                        ">BBHII", 0x80, 96 | last << 7, sequence, number * 90_000 // self._rate, 1
                    )
                    packet = head + unit
                    connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                    sequence += 1
                time.sleep(1 / self._rate)
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _encoded(self) -> Iterator[list[bytes]]:
        """The units of each picture, without the start codes between them."""
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = self._pixels.shape[1], self._pixels.shape[0]
        encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, self._rate)
        encoder.options = {"tune": "zerolatency", "g": "10"}
        for _ in range(self._frames):
            for packet in encoder.encode(av.VideoFrame.from_ndarray(self._pixels)):
                units = bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
                yield [unit.rstrip(b"\0") for unit in units]
