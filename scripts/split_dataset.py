"""Distribute photos, with their xml, to train/ and test/ and, if wanted, validation/.

Classes are spread evenly over the sides where photos are annotated, and photos that look almost
the same (burst shots) stay on one side, so that the test is a test. What is already in train/,
test/ or validation/ stays there; new photos are added so that the shares come right.

  python split_dataset.py --images data/images --test 0.2
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console import InputError, run, say, warn
from dataset import voc
from dataset.annotations import listed
from dataset.folder import SPLITS, Photo, annotation_names, names, photos
from dataset.image import shown
from dataset.likeness import groups_of_photos
from dataset.splitting import Group, grouped, hold_out

# A group of alike photos larger than this share of all makes a fair split impossible.
_LARGE_GROUP = 0.5


@dataclass(frozen=True)
class Move:
    """A photo and the split it goes to."""

    photo: Photo
    split: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=Path, default=Path("data/images"), help="folder (default: data/images)"
    )
    parser.add_argument(
        "--test", type=float, default=0.2, help="share of the photos (default: 0.2)"
    )
    parser.add_argument(
        "--validation",
        type=float,
        default=0.0,
        help="share of the photos that are not for the test (default: 0; training holds some out "
        "by itself where there are enough)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split")
    parser.add_argument(
        "--again", action="store_true", help="distribute all anew, also what is split already"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    args = parser.parse_args()
    for option in ("test", "validation"):
        if not 0 <= getattr(args, option) <= 0.9:
            raise InputError(f"--{option} {getattr(args, option)}: give a share from 0 to 0.9.")

    sides: dict[str, list[Photo]] = {
        name: photos(args.images / name) for name in SPLITS if (args.images / name).is_dir()
    }
    loose = photos(args.images)
    if args.again:
        loose = [*loose, *(photo for members in sides.values() for photo in members)]
        sides = {}
    refuse_doubles(loose, [photo for members in sides.values() for photo in members])
    moves = [] if not loose else decide(loose, sides, args)
    strays = stray_annotations(args.images, sides)
    if not moves and not strays:
        say(f"{shown(args.images)}: nothing to split; {standing(sides)}")
        return
    moves = [move for move in moves if move.photo.folder != args.images / move.split]
    if not args.dry_run:
        for move in moves:
            carry_out(move, args.images)
        for xml, folder in strays:
            xml.rename(folder / xml.name)
    counts = Counter(move.split for move in moves)
    told = ", ".join(f"{counts[name]} to {name}" for name in SPLITS if counts[name])
    say(f"{'would move' if args.dry_run else 'moved'} {told or 'no photo'}")
    if not args.dry_run:
        there = {n: photos(args.images / n) for n in SPLITS if (args.images / n).is_dir()}
        say(f"{shown(args.images)}: {standing(there)}")


def decide(
    loose: Sequence[Photo], sides: dict[str, list[Photo]], args: argparse.Namespace
) -> list[Move]:
    """Where each of the loose photos goes; those in ``sides`` count and pull their like."""
    everyone = [*loose, *(photo for members in sides.values() for photo in members)]
    side_of = {photo: name for name, members in sides.items() for photo in members}
    leaders = groups_of_photos(everyone, args.workers)
    largest = Counter(leaders.tolist()).most_common(1)[0][1]
    if largest > max(2, _LARGE_GROUP * len(everyone)):
        warn(
            f"{largest} of {len(everyone)} photos look almost the same and stay together; "
            "a test that means something needs photos of other scenes"
        )
    groups = grouped([classes_of(photo) for photo in everyone], leaders)
    settled: dict[str, list[Group]] = {name: [] for name in SPLITS}
    free: list[Group] = []
    for group in groups:
        # A group that is partly split already goes where most of it is.
        votes = Counter(side_of[everyone[i]] for i in group.photos if everyone[i] in side_of)
        (settled[votes.most_common(1)[0][0]] if votes else free).append(group)

    split_of: dict[int, str] = {}
    for name, members in settled.items():
        split_of.update((index, name) for group in members for index in group.photos)
    not_test = settled["train"] + settled["validation"]
    test = set(hold_out(free, args.test, args.seed, settled["test"], not_test))
    rest = [group for group in free if group.photos[0] not in test]
    held = (settled["validation"], settled["train"])
    validation = set(hold_out(rest, args.validation, args.seed, *held))
    for group in free:
        for index in group.photos:
            split_of[index] = (
                "test" if index in test else "validation" if index in validation else "train"
            )
    return [Move(photo, split_of[index]) for index, photo in enumerate(loose)]


def classes_of(photo: Photo) -> set[str]:
    """Classes of the photo's boxes, as far as its xml can be read; the check tells the rest."""
    if photo.xml is None:
        return set()
    annotation = voc.parse(photo.xml).annotation
    return {box.name for box in annotation.boxes} if annotation else set()


def carry_out(move: Move, images: Path) -> None:
    """Move photo and xml. Interrupted in between, the next run brings the xml after."""
    folder = images / move.split
    folder.mkdir(exist_ok=True)
    move.photo.path.rename(folder / move.photo.name)
    if move.photo.xml is not None:
        move.photo.xml.rename(folder / move.photo.xml.name)


def refuse_doubles(loose: Sequence[Photo], settled: Sequence[Photo]) -> None:
    """Moving must overwrite nothing: InputError when a loose photo's name is there already.

    Endings do not count, as photos that differ only in them would share one xml.
    """
    first = {Path(photo.name).stem: photo for photo in settled}
    doubles = []
    for photo in loose:
        other = first.setdefault(Path(photo.name).stem, photo)
        if other is not photo:
            both = f"{shown(other.path)} and {shown(photo.path)}"
            doubles.append(f"{both} have one name. Rename or remove one of them.")
    if doubles:
        raise InputError(listed(f"{len(doubles)} photos have the name of another", doubles))


def stray_annotations(images: Path, sides: dict[str, list[Photo]]) -> list[tuple[Path, Path]]:
    """Annotations left behind by an interrupted run, each with the folder of its photo."""
    homes = {
        Path(photo.name).stem: photo.folder
        for members in sides.values()
        for photo in members
        if photo.xml is None
    }
    found = [images / name for name in annotation_names(names(images))]
    return [(xml, homes[xml.stem]) for xml in found if xml.stem in homes]


def standing(sides: dict[str, list[Photo]]) -> str:
    """``24 train, 8 test``."""
    return ", ".join(f"{len(members)} {name}" for name, members in sides.items()) or "no photo"


if __name__ == "__main__":
    run(main)
