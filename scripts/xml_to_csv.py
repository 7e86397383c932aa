"""Write the boxes of a folder of labelImg annotations as one table, and the label map.

The table has a row for each box: filename,width,height,class,xmin,ymin,xmax,ymax.

  python xml_to_csv.py -i data/images/train -o data/annotations/train_labels.csv -l data/annotations
  python xml_to_csv.py -i data/images/test -o data/annotations/test_labels.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from console import InputError, run, say, warn
from dataset import label_map, table
from dataset.annotations import Source, in_short, read_all, warn_unannotated
from dataset.folder import annotation_names, names, photos
from dataset.image import shown
from dataset.voc import Annotation


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-i", "--inputDir", type=Path, default=Path(), help="folder of the xml files (default: .)"
    )
    parser.add_argument(
        "-o", "--outputFile", type=Path, help="table to write (default: labels.csv in that folder)"
    )
    parser.add_argument(
        "-l", "--labelMapDir", type=Path, help="folder that label_map.pbtxt is written to, if given"
    )
    args = parser.parse_args()
    output = args.outputFile or args.inputDir / "labels.csv"

    seen = {"boxes": 0, "photos": 0, "negatives": 0}
    classes: set[str] = set()

    def counted(annotations: Iterator[Annotation]) -> Iterator[Annotation]:
        for annotation in annotations:
            seen["photos"] += 1
            seen["negatives"] += not annotation.boxes
            classes.update(box.name for box in annotation.boxes)
            yield annotation

    boxes = table.write(output, counted(read_all(annotation_sources(args.inputDir))))
    say(
        f"{shown(output)}: {boxes} boxes of {len(classes)} classes in {seen['photos']} photos"
        + (f", {seen['negatives']} of them without boxes" if seen["negatives"] else "")
    )
    if args.labelMapDir is not None:
        path = args.labelMapDir / "label_map.pbtxt"
        ordered = label_map.classes_of(classes)
        label_map.write(path, ordered)
        say(f"{shown(path)}: {in_short(ordered, 20)}")


def annotation_sources(folder: Path) -> list[Source]:
    """Every xml of the folder, with the photo beside it; warns of those that lack the other."""
    found = photos(folder)
    warn_unannotated(found, folder)
    photo_of = {photo.xml_name: photo.name for photo in reversed(found)}
    listed = annotation_names(names(folder))
    if not listed:
        raise InputError(
            f"{shown(folder)}: there is no xml in it. Annotate its photos in labelImg first."
        )
    alone = [name for name in listed if name not in photo_of]
    if alone:
        warn(
            f"{shown(folder)}: no photo lies beside {len(alone)} annotations ({in_short(alone)}); "
            "their rows have the names that they state."
        )
    return [Source(folder / name, photo_of.get(name)) for name in listed]


if __name__ == "__main__":
    run(main)
