"""Connects the user's terminal with a program's at the other end of a socket."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any


def connect(connection: Any, resize: Callable[[int, int], None]) -> None:
    """Pass bytes both ways until the other end closes; `resize` gets rows and columns.

    `connection` is a socket, or a file object that wraps one. Keys arrive unchanged at the other
    end, Ctrl-C among them.
    """
    far = getattr(connection, "_sock", connection)
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()

    def fit(*_: object) -> None:
        size = shutil.get_terminal_size()
        resize(size.lines, size.columns)

    settings = termios.tcgetattr(keyboard)
    before = signal.signal(signal.SIGWINCH, fit)
    try:
        tty.setraw(keyboard)
        fit()
        sources = [far, keyboard]
        while True:
            for ready in select.select(sources, [], [])[0]:
                if ready is far:
                    data = far.recv(65536)
                    if not data:
                        return
                    os.write(screen, data)
                elif data := os.read(keyboard, 65536):
                    far.sendall(data)
                else:
                    sources.remove(keyboard)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, settings)
        signal.signal(signal.SIGWINCH, before)
        connection.close()
