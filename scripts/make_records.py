"""Make everything that training reads: tables, label map and records of each split.

The same as xml_to_csv.py and generate_tfrecord.py for train, test and, where it is there,
validation, with one label map for all: the sorted names of their classes. Without a folder
validation/, some of the training photos can be held out as validation photos, on which the best
checkpoint is chosen: 'auto' holds out a tenth where there are at least 60.

  python make_records.py --data data/images --output records
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from atomic import atomic_write
from console import InputError, run, say
from dataset import label_map, records, table
from dataset.annotations import in_short, read_all, sources, warn_unannotated
from dataset.folder import SPLITS, Photo, splits
from dataset.image import shown
from dataset.likeness import groups_of_photos
from dataset.splitting import grouped, hold_out
from dataset.voc import Annotation

# With fewer training photos, each is worth more in training than as a judge of checkpoints.
_LEAST_FOR_VALIDATION = 60
_AUTOMATIC_RATIO = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/ and test/, and validation/"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--validation",
        default="auto",
        help="share of the training photos to hold out, from 0 to 0.5, or auto (default)",
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the validation photos")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    args = parser.parse_args()
    share = share_of(args.validation)

    photos: dict[str, list[Photo]] = {}
    for name, found in splits(args.data).items():
        warn_unannotated(found, args.data / name)
        photos[name] = [photo for photo in found if photo.xml is not None]
        if not photos[name]:
            raise InputError(
                f"{shown(args.data / name)}: it has no photo with an xml. "
                "Annotate photos in labelImg; it writes the xml beside the photo."
            )
    if "validation" not in photos:
        held = validation_photos(photos["train"], share, args.seed, args.workers)
        if held:
            chosen = set(held)
            photos["validation"] = [photos["train"][index] for index in held]
            photos["train"] = [p for i, p in enumerate(photos["train"]) if i not in chosen]

    for name in set(SPLITS).difference(photos):  # what an earlier run left in the same folder
        stale = records.files(args.output / f"{name}.record")
        for path in (args.output / f"{name}_labels.csv", *stale):
            path.unlink(missing_ok=True)
    classes: set[str] = set()
    for name, members in photos.items():
        annotations = read_all(sources(members), args.workers)
        table.write(args.output / f"{name}_labels.csv", noting(annotations, classes))
    if not classes:
        raise InputError(f"{shown(args.data)}: there is not one box. Draw some in labelImg.")
    ordered = label_map.classes_of(classes)
    label_map.write(args.output / "label_map.pbtxt", ordered)
    ids = label_map.read(args.output / "label_map.pbtxt")

    written_splits = {}
    for name in (name for name in SPLITS if name in photos):
        rows = table.read(args.output / f"{name}_labels.csv")
        output = args.output / f"{name}.record"
        written = records.write_split(output, photos[name], rows, ids, args.workers)
        written_splits[name] = vars(written)
        say(
            f"{name}: {written.photos} photos, {written.boxes} boxes"
            + (f", {written.negatives} photos without a box" if written.negatives else "")
        )
    say(f"classes: {in_short(ordered, 20)}")
    made = {"classes": ordered, "splits": written_splits}
    with atomic_write(args.output / "records.json") as temporary:
        temporary.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")


def share_of(text: str) -> float | None:
    """``--validation`` as a number, None for auto."""
    if text == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 0.5:
        raise InputError(f"--validation {text}: give auto, or a number from 0 to 0.5.")
    return share


def validation_photos(
    train: list[Photo], share: float | None, seed: int, workers: int
) -> list[int]:
    """Indices of the training photos to hold out; those that look alike stay together."""
    if share is None:
        share = _AUTOMATIC_RATIO if len(train) >= _LEAST_FOR_VALIDATION else 0.0
    if not share:
        return []
    seen = [{box.name for box in a.boxes} for a in read_all(sources(train), workers)]
    return hold_out(grouped(seen, groups_of_photos(train, workers)), share, seed)


def noting(annotations: Iterator[Annotation], classes: set[str]) -> Iterator[Annotation]:
    """Pass annotations through and remember their classes."""
    for annotation in annotations:
        classes.update(box.name for box in annotation.boxes)
        yield annotation


if __name__ == "__main__":
    run(main)
