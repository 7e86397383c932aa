"""Benchmarks of converted detectors on this host, in rounds interleaved with the reference.

A host is never quiet. Therefore each round measures the trained detector in TensorFlow and then
every target, and what is told is the ratio to the reference just before and just after. There are
fewer rounds than asked for where the networks are so slow that they would take too long.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import measurements, records, shipping
from pipeline.configuration import ROOT
from pipeline.errors import StageFailed
from pipeline.execute import content_cache
from pipeline.execution import Execution
from pipeline.experiment import Experiment
from pipeline.placement import place
from pipeline.runners import Runner, choose
from pipeline.screen import duration, say, table
from pipeline.targets import Variant, reference

Round = dict[str, Any]
# Times are held against the reference's of the same name, but for the detector's: the SavedModel,
# which is what TensorFlow's users run, takes pixels and gives objects as well.
_AGAINST = {"detector_ms": "saved_model_ms"}


def benchmark(
    experiment: Experiment,
    variants: Sequence[Variant],
    runner: str,
    *,
    rounds: int,
    minutes: float,
    seconds: float,
    threads: int,
) -> None:
    """Measure ``variants``, ``rounds`` times; writes <target>/<precision>/benchmark/benchmark.json.

    The target ``tensorflow`` is measured with them, as what the ratios are to. A further round
    begins only where it can end before ``minutes`` are over.
    """
    variants = shipping.for_each(experiment, variants, lambda one: one.artifact, runner)
    experiment = experiment.reopened()
    chosen, _ = choose(runner)
    cache = content_cache()
    scratch = experiment.folder / ".benchmark"
    shutil.rmtree(scratch, ignore_errors=True)
    taking_part = [reference(), *variants]
    measured: dict[str, list[Round]] = {variant.name: [] for variant in taking_part}
    options = {"seconds": seconds, "threads": threads}
    with experiment.locked():
        clock = Clock(rounds, minutes)
        for number in range(1, rounds + 1):
            for done, variant in enumerate(taking_part, start=(number - 1) * len(taking_part)):
                say(f"round {number} of {rounds}: {variant.name}")
                folder = scratch / str(number) / variant.name
                measured[variant.name].append(_run(experiment, variant, folder, chosen, options))
                # How long the first round takes is not known before its end.
                left = f", {clock.left((done + 1) / len(taking_part))}" if number > 1 else ""
                say(f"  {_in_a_line(measured[variant.name][-1])}{left}")
            if not clock.another(number):
                break
        # The reference once more at the end, so that each round lies between two of it.
        say(f"after the last round: {reference().name}")
        folder = scratch / "end" / reference().name
        measured[reference().name].append(_run(experiment, reference(), folder, chosen, options))
        shutil.rmtree(scratch)
        references = measured[reference().name]
        results = []
        for variant in taking_part:
            others = None if variant.name == reference().name else references
            record = records.read(experiment.output(variant.artifact))
            assert record is not None  # it was brought up to date above
            result = {
                "subject": measurements.subject(variant, record.outputs, cache),
                **summary(variant, measured[variant.name], others),
            }
            folder = measurements.folder(experiment, variant)
            measurements.write(folder, measurements.HERE, result)
            results.append(result)
    show(results)


class Clock:
    """How many of ``rounds`` there is time for: none begins that cannot end within ``minutes``."""

    def __init__(self, rounds: int, minutes: float) -> None:
        self._rounds, self._minutes = rounds, minutes
        self._began = time.monotonic()

    def another(self, done: int) -> bool:
        """Whether a round follows after ``done`` of them; says so where time ends them."""
        if done == self._rounds:
            return False
        elapsed = time.monotonic() - self._began
        if elapsed * (done + 1) / done <= 60 * self._minutes:
            return True
        say(
            f"{done} of {self._rounds} rounds: they took {duration(elapsed)}, and another would "
            f"end after {self._minutes:g} minutes (--minutes)"
        )
        return False

    def left(self, done: float) -> str:
        """How much longer it takes after ``done`` rounds, which may be a part of one."""
        each = (time.monotonic() - self._began) / done
        begun = math.ceil(done)
        rounds = min(self._rounds, max(begun, int(60 * self._minutes / each)))
        return f"about {duration(each * (rounds - done))} left"


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99, by the nearest rank."""
    ordered = sorted(values)
    return {
        f"p{share}": ordered[max(0, -(-share * len(ordered) // 100) - 1)] for share in (50, 95, 99)
    }


def ratio(target: Sequence[float], neighbours: Sequence[float]) -> float:
    """The median over rounds of a target's time to the mean of the reference before and after.

    ``target``: one time for each round; ``neighbours``: the reference's, one more than that.
    """
    pairs = zip(neighbours, neighbours[1:])
    return statistics.median(
        time / statistics.mean(pair) for time, pair in zip(target, pairs, strict=True)
    )


def summary(variant: Variant, rounds: Sequence[Round], references: Sequence[Round] | None) -> Round:
    """What benchmark.json holds: ratios too, where there are rounds of a reference."""
    result: Round = {
        "target": variant.name,
        "stand_in": variant.target.stand_in,
        **{
            key: rounds[-1][key]
            for key in ("runtime", "device", "threads", "warm_up", "size_bytes", "cpu", "mhz")
        },
        "rounds": len(rounds),
        "load": [one["load"] for one in rounds],
        "peak_memory_mib": max(one["peak_memory_mib"] for one in rounds),
    }
    for kind in (name for name in rounds[0] if name.endswith("_ms")):
        every = [time for one in rounds for time in one[kind]]
        result[kind] = {**percentiles(every), "count": len(every)}
        against = _AGAINST.get(kind, kind)
        if references is not None and against in references[0]:
            medians = [statistics.median(one[kind]) for one in rounds]
            around = [statistics.median(one[against]) for one in references]
            result[kind]["ratio"] = round(ratio(medians, around), 4)
    result["besides_ms"] = percentiles(
        [
            round(whole - network, 4)
            for one in rounds
            for network, whole in zip(one["network_ms"], one["end_to_end_ms"], strict=True)
        ]
    )
    taken = statistics.mean(time for one in rounds for time in one["end_to_end_ms"])
    result["photos_per_second"] = round(1000 / taken, 2)
    return result


def show(results: Sequence[Round]) -> None:
    """What the table of devices leaves out, and the conditions that it was measured under."""
    table(
        (
            *("target", "network ms", "p95", "p99", "CPU ms", "CPU ratio"),
            *("detector", "ratio", "end to end", "p95", "p99", "besides", "photos/s", "memory"),
        ),
        [
            (
                result["target"],
                *(f"{result['network_ms'][share]:.1f}" for share in ("p50", "p95", "p99")),
                *_with_ratio(result["network_cpu_ms"]),
                *_with_ratio(result["detector_ms"]),
                *(f"{result['end_to_end_ms'][share]:.1f}" for share in ("p50", "p95", "p99")),
                f"{result['besides_ms']['p50']:.1f}",
                f"{result['photos_per_second']:.1f}",
                f"{result['peak_memory_mib']:.0f} MiB",
            )
            for result in results
        ],
    )
    say(
        "network: alone; CPU: its processor time, of all threads; detector: pixels in, objects out "
        "(resize, network, decode boxes, NMS), ratio: to TensorFlow's SavedModel; end to end: with "
        "decoding the photo; besides: what that adds to the network"
    )
    first = results[0]
    if whole := first.get("saved_model_ms"):
        say(f"TensorFlow's SavedModel: {whole['p50']:.1f} ms, pixels in, objects out")
    clock = f", {first['mhz']} MHz" if first["mhz"] else ""
    loads = sorted(load for result in results for load in result["load"])
    rounds = results[-1]["rounds"]  # the reference, which is the first, has one more
    say(
        f"{first['cpu']}{clock}, {first['threads']} threads, load {loads[0]:.1f} to "
        f"{loads[-1]:.1f}, {rounds} round{'s' if rounds > 1 else ''}, "
        f"each after {first['warm_up']} calls to warm up"
    )


def _in_a_line(one: Round) -> str:
    network, detector = (statistics.median(one[name]) for name in ("network_ms", "detector_ms"))
    return f"network {network:.1f} ms, detector {detector:.1f} ms, {len(one['network_ms'])} times"


def _with_ratio(times: Mapping[str, float]) -> tuple[str, str]:
    return f"{times['p50']:.1f}", f"{times['ratio']:.2f}" if "ratio" in times else ""


def _run(
    experiment: Experiment,
    variant: Variant,
    folder: Path,
    runner: Runner,
    options: Mapping[str, object],
) -> Round:
    folder.mkdir(parents=True)
    target = variant.target
    cache = content_cache()
    where = place(runner, target.environment, "auto", cache)
    cache.save()
    artifact = experiment.output(variant.artifact)
    data = experiment.data.resolve()
    execution = Execution(
        environment=target.environment,
        argv=(
            *("python", "scripts/benchmark.py", f"--artifact={artifact}"),
            *(f"--runtime={target.runtime}", f"--device={target.device}"),
            *(f"--{name}={value}" for name, value in options.items()),
            *(f"--data={data}", f"--output={folder}"),
        ),
        root=ROOT,
        reads=(artifact, data),
        writes=(folder,),
        gpu=where.gpu,
        hardware=target.hardware,
    )
    said: list[bytes] = []
    code = runner.run(
        execution,
        runner.realise(where.environment, where.digest, say),
        lambda _, text: said.append(text),
    )
    if code:
        told = b"".join(said).decode(errors="replace").strip()
        raise StageFailed(f"measuring {variant.name} failed:\n{told}")
    found: Round = json.loads((folder / "round.json").read_bytes())
    return found
