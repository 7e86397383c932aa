"""Writes what came of each device into docs/DEVICES.md, from the tables of experiments.

    ./inv verify --target all; ./inv verify --name fruits --target all
    .venv/bin/python benchmarks/device_table.py default fruits

Reads artifacts/<name>/devices.json of each, as `verify` leaves it. What is not verified has its
state in place of figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "DEVICES.md"
BEGIN, END = "<!-- written by benchmarks/device_table.py -->", "<!-- end -->"

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="experiments, side by side")
    given = parser.parse_args()
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE} has no place for the table")
    table = written(given.names, [devices(name) for name in given.names])
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")


def devices(name: str) -> list[Row]:
    """The rows of an experiment's devices.json, the reference first."""
    path = ROOT / "artifacts" / name / "devices.json"
    rows: list[Row] = json.loads(path.read_text("utf-8"))["devices"]
    if rows[0]["mAP"] is None:  # its evaluation is out of date, or there is none
        held = [row["mAP"] - row["difference"] for row in rows if row["difference"] is not None]
        rows[0]["mAP"] = next(iter(held), None)
    return rows


def written(names: list[str], tables: list[list[Row]]) -> str:
    """The table in Markdown: a row for each target and precision, three cells for each name."""
    head = ["target", "precision", "size"]
    for name in names:
        head += [f"{name}: mAP (difference)", "IoU from", "scores within"]
    lines = [head, ["---"] * len(head)]
    for of_all in zip(*tables, strict=True):
        size = next((row["size_bytes"] for row in of_all if row["size_bytes"]), None)
        lines.append(
            [
                f"`{of_all[0]['target']}`",
                of_all[0]["precision"].upper(),
                f"{size / 1e6:.1f} MB" if size else "",
                *(cell for row in of_all for cell in figures(row)),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(row: Row) -> list[str]:
    """mAP, the smallest IoU and the largest difference in score, or the state."""
    if row["state"] == "reference":
        return ["" if row["mAP"] is None else f"{row['mAP']:.3f}", "", ""]
    if row["min_iou"] is None or row["state"] not in ("verified", "loss accepted"):
        return [row["state"], "", ""]
    accepted = ", loss accepted" if row["accepted"] else ""
    return [
        f"{row['mAP']:.3f} ({row['difference']:+.3f}){accepted}",
        f"{row['min_iou']:.3f}",
        f"{row['max_score_difference']:.4f}",
    ]


if __name__ == "__main__":
    main()
