"""Look for everything in a dataset that would hurt later, and say what to do about it.

Errors end with exit code 2; warnings are shown. Written: report.json with every finding, and
contact_sheet.jpg with the boxes drawn on the photos.

  python check_dataset.py --data data/images --output check
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from atomic import atomic_write
from console import InputError, progress, run, say, warn
from dataset import contact_sheet, findings
from dataset.annotations import listed
from dataset.findings import ERROR, Finding, Inspection
from dataset.folder import SPLITS, Photo, splits
from dataset.image import shown
from dataset.label_map import classes_of
from dataset.parallel import ordered

_SHEET_PHOTOS = 60
_SHEET_FLAGGED = 20
_WARNINGS_SHOWN = 10


class Looked(NamedTuple):
    """The result for one photo; ``tile`` is there when the photo goes on the contact sheet."""

    inspection: Inspection
    tile: contact_sheet.Tile | None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/ and test/, and validation/"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    args = parser.parse_args()

    found = splits(args.data)
    photos = [photo for name in found for photo in found[name]]
    step = max(1, -(-len(photos) // _SHEET_PHOTOS))
    jobs = ((photo, number % step == 0) for number, photo in enumerate(photos))
    inspections: list[Inspection] = []
    sampled: list[contact_sheet.Tile] = []
    flagged: list[contact_sheet.Tile] = []
    for number, looked in enumerate(
        progress(ordered(look, jobs, args.workers), len(photos), "checking photos")
    ):
        inspections.append(looked.inspection)
        if looked.tile is not None and number % step == 0:
            sampled.append(looked.tile)
        elif looked.tile is not None and len(flagged) < _SHEET_FLAGGED:
            flagged.append(looked.tile)

    told = [finding for inspection in inspections for finding in inspection.findings]
    told += findings.among(inspections, [args.data / name for name in found])
    told.sort(key=lambda finding: finding.level != ERROR)
    summary = summary_of(inspections, told)
    write_report(args.output / "report.json", told, summary)
    classes = classes_of(box.name for i in inspections for box in i.boxes)
    title = f"{len(sampled + flagged)} of {len(photos)} photos, {sum_boxes(inspections)} boxes"
    sheet = contact_sheet.draw([*flagged, *sampled], classes, title)
    with atomic_write(args.output / "contact_sheet.jpg") as temporary:
        sheet.save(temporary, quality=88)
    conclude(told, summary, args.output)


def look(job: tuple[Photo, bool]) -> Looked:
    """Inspect one photo. Its tile is made when it was asked for or something is wrong."""
    photo, wanted = job
    inspection, image = findings.inspect(photo)
    if image is None or not (wanted or inspection.findings):
        return Looked(inspection, None)
    tile = contact_sheet.tile(inspection.file, image, inspection.boxes, inspection.size)
    return Looked(inspection, tile)


def sum_boxes(inspections: Sequence[Inspection]) -> int:
    return sum(len(inspection.boxes) for inspection in inspections)


def summary_of(inspections: Sequence[Inspection], told: Sequence[Finding]) -> dict:
    """What report.json says in numbers."""
    levels = Counter(finding.level for finding in told)
    split_numbers: dict[str, dict[str, int]] = {}
    classes: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        members = [inspection for inspection in inspections if inspection.split == split]
        if not members:
            continue
        annotated = [member for member in members if member.has_xml]
        split_numbers[split] = {
            "photos": len(members),
            "annotated": len(annotated),
            "negatives": sum(not member.boxes for member in annotated),
            "boxes": sum_boxes(members),
        }
        for name, count in Counter(box.name for m in members for box in m.boxes).items():
            classes.setdefault(name, {})[split] = count
    return {
        "errors": levels["error"],
        "warnings": levels["warning"],
        "splits": split_numbers,
        "classes": {name: classes[name] for name in sorted(classes)},
    }


def write_report(path: Path, told: Sequence[Finding], summary: dict) -> None:
    report = {"findings": [vars(finding) for finding in told], "summary": summary}
    with atomic_write(path) as temporary:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def conclude(told: Sequence[Finding], summary: dict, output: Path) -> None:
    """Tell the user; InputError when there are errors."""
    for split, numbers in summary["splits"].items():
        say(f"{split}: {numbers['photos']} photos, {numbers['boxes']} boxes")
    warnings = [finding for finding in told if finding.level != ERROR]
    for finding in warnings[:_WARNINGS_SHOWN]:
        warn(finding.line())
    report = shown(output / "report.json")
    if len(warnings) > _WARNINGS_SHOWN:
        warn(f"and {len(warnings) - _WARNINGS_SHOWN} more, see {report}")
    errors = [finding.line() for finding in told if finding.level == ERROR]
    if errors:
        title = f"the dataset has {len(errors)} errors; {report} lists them all"
        raise InputError(listed(title, errors))
    say(f"no errors; the boxes are drawn in {shown(output / 'contact_sheet.jpg')}")


if __name__ == "__main__":
    run(main)
