"""How good a model file is, by cross-validation: all photos of a dataset, k folds, n seeds.

Two test photos say little. Here every photo is a test photo once: the photos of train/ and test/
are dealt into k folds, each fold is the test set of a detector trained on the others, and that is
done with several seeds. The programs are those of the pipeline, run one after the other in this
interpreter's environment:

    python benchmarks/cross_validate.py --data ../fruits/images --output /tmp/cv --folds 3 --seeds 3

Interrupted, the same command goes on. It prints a table and writes OUTPUT/results.json. Random
initialisation is the control: add --weights random and another --output.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("mAP", "AP50", "AP75")


def main() -> None:
    arguments = _parse_arguments()
    pairs = _pairs(arguments.data)
    if len(pairs) < arguments.folds:
        sys.exit(f"error: {arguments.data} has {len(pairs)} photos, too few for the folds")
    results = []
    for seed in range(1, arguments.seeds + 1):
        for fold in range(arguments.folds):
            results.append(_one(arguments, pairs, fold, seed))
            print(_line(results[-1]), flush=True)
    _report(arguments, results, len(pairs))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--output", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--model", default="retinanet_mobilenetv2", help="of configs/models/")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="0: automatic")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--override", default="", help="passed on to train.py")
    return parser.parse_args()


def _pairs(data: Path) -> list[tuple[Path, Path]]:
    """Every photo of train/ and test/ with its xml, in an order that no folder listing decides."""
    annotations = sorted(
        (xml for split in ("train", "test") for xml in (data / split).glob("*.xml")),
        key=lambda xml: xml.name,
    )
    photos = []
    for xml in annotations:
        beside = (path for path in xml.parent.glob(f"{xml.stem}.*") if path.suffix != ".xml")
        photos.append((next(beside), xml))
    # One deal for all seeds, so that seeds differ in training alone.
    random.Random(0).shuffle(photos)
    return photos


def _one(
    arguments: argparse.Namespace, pairs: list[tuple[Path, Path]], fold: int, seed: int
) -> dict[str, float]:
    """Train and measure one fold with one seed, unless that is done already."""
    folder = arguments.output / f"seed{seed}-fold{fold}"
    done = folder / "result.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    data = folder / "data"
    for number, pair in enumerate(pairs):
        split = data / ("test" if number % arguments.folds == fold else "train")
        split.mkdir(parents=True, exist_ok=True)
        for path in pair:
            if not (split / path.name).exists():
                (split / path.name).symlink_to(path.resolve())
    steps = {
        "make_records.py": ["--data", data, "--output", folder / "records", "--validation", "0"],
        "train.py": [
            *("--config", ROOT / "configs" / "models" / f"{arguments.model}.yaml"),
            *("--records", folder / "records", "--output", folder / "train"),
            *("--steps", arguments.steps, "--seed", seed, "--weights", arguments.weights),
            *("--override", arguments.override),
        ],
        "export.py": [
            *("--train", folder / "train", "--records", folder / "records"),
            *("--output", folder / "export"),
        ],
        "evaluate.py": [
            *("--export", folder / "export", "--data", data, "--output", folder / "evaluate"),
        ],
    }
    seconds = {}
    for program, options in steps.items():
        seconds[program] = _run(program, [str(option) for option in options], folder)
    metrics = json.loads((folder / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    result = {
        "seed": seed,
        "fold": fold,
        **{name: metrics[name] for name in METRICS},
        "train_cpu_seconds": seconds["train.py"],
    }
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def _run(program: str, options: list[str], folder: Path) -> float:
    """Run a stage's program; returns the CPU seconds that it used, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "scripts" / program), *options]
    environment = {**os.environ, "DRYDOCK_PROGRESS": "lines"}
    with (folder / f"{Path(program).stem}.log").open("w", encoding="utf-8") as log:
        code = subprocess.call(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if code:
        sys.exit(f"error: {program} failed with exit code {code}; see {log.name}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def _line(result: dict[str, float]) -> str:
    metrics = "  ".join(f"{name} {result[name]:.3f}" for name in METRICS)
    return (
        f"seed {result['seed']}  fold {result['fold']}  {metrics}  "
        f"training {result['train_cpu_seconds']:.0f} CPU-s"
    )


def _report(arguments: argparse.Namespace, results: list[dict[str, float]], photos: int) -> None:
    seeds = sorted({result["seed"] for result in results})
    summary: dict[str, dict[str, float]] = {}
    for name in METRICS:
        by_seed = [
            statistics.mean(result[name] for result in results if result["seed"] == seed)
            for seed in seeds
        ]
        values = [result[name] for result in results]
        summary[name] = {
            "mean": statistics.mean(values),
            "deviation_of_folds": statistics.pstdev(values),
            "deviation_of_seeds": statistics.stdev(by_seed) if len(by_seed) > 1 else 0.0,
            "least": min(values),
            "most": max(values),
        }
    print(f"\n{photos} photos, {arguments.folds} folds, {arguments.seeds} seeds, {arguments.model}")
    print(f"{'':6}{'mean':>8}{'sd folds':>10}{'sd seeds':>10}{'least':>8}{'most':>8}")
    for name, values in summary.items():
        print(
            f"{name:6}{values['mean']:8.3f}{values['deviation_of_folds']:10.3f}"
            f"{values['deviation_of_seeds']:10.3f}{values['least']:8.3f}{values['most']:8.3f}"
        )
    asked = {name: str(value) for name, value in vars(arguments).items() if name != "output"}
    text = json.dumps({"asked": asked, "summary": summary, "runs": results}, indent=2)
    (arguments.output / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
