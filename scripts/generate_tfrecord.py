"""Write a table of boxes and its photos as TFRecord, as the Object Detection API defines it.

A photo in the folder that has an xml without boxes, and so no row in the table, is a negative.

  python generate_tfrecord.py --csv_input=data/annotations/train_labels.csv \\
      --output_path=data/annotations/train.record --img_path=data/images/train \\
      --label_map data/annotations/label_map.pbtxt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from console import run, say
from dataset import label_map, records, table
from dataset.annotations import warn_unannotated
from dataset.folder import photos
from dataset.image import shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv_input", type=Path, required=True, help="table of xml_to_csv.py")
    parser.add_argument("--output_path", type=Path, required=True, help="record file to write")
    parser.add_argument(
        "--img_path", type=Path, default=Path(), help="folder of the photos (default: .)"
    )
    parser.add_argument("--label_map", type=Path, required=True, help="label_map.pbtxt")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    args = parser.parse_args()

    ids = label_map.read(args.label_map)
    rows = table.read(args.csv_input)
    found = photos(args.img_path)
    warn_unannotated([p for p in found if p.name not in rows.photos], args.img_path)
    written = records.write_split(args.output_path, found, rows, ids, args.workers)
    say(
        f"{shown(args.output_path)}: {written.photos} photos with {written.boxes} boxes"
        + (f", {written.negatives} without any" if written.negatives else "")
        + (f", in {written.shards} files" if written.shards > 1 else "")
    )


if __name__ == "__main__":
    run(main)
