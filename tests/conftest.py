"""What holds for all tests, in whichever environment they run."""

from __future__ import annotations

import signal

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: the
# tests that interrupt a command would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
