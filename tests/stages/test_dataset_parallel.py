from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import SCRIPTS

from console import StageError
from dataset.parallel import ordered


def slow_square(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise ValueError(f"number {number}")


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_results_come_in_the_order_of_the_items(workers, count):
    found = list(ordered(slow_square, iter(range(count)), workers))
    assert found == [number * number for number in range(count)]


def test_few_items_are_taken_ahead():
    taken = []
    results = ordered(slow_square, (taken.append(i) or i for i in range(1000)), 2)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 4 * 2
    results.close()


def test_exceptions_reach_the_caller():
    with pytest.raises(ValueError, match="number 0"):
        list(ordered(fail, range(10), 2))


def test_a_killed_worker_is_told():
    with pytest.raises(StageError, match="memory ran out"):
        list(ordered(die, range(10), 2))


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys, os, time; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from dataset.parallel import ordered\n"
        "def work(number):\n"
        "    os.write(1, f'{os.getpid()}\\n'.encode())\n"
        "    time.sleep(0.2)\n"
        "if __name__ == '__main__':\n"
        "    list(ordered(work, range(500), 2))\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(4)}
        parent.kill()
    deadline = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.2)
