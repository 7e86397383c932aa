"""What `./inv` runs: tasks.py, from whatever folder."""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C among the imports just ends this, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    import tasks
    from commands.program import Program

    Program(tasks.namespace).run()
