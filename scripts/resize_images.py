"""Make photos smaller, upright and readable for all tools, with their boxes if they have any.

Names are kept; HEIC, WebP and other formats become JPEG. The aspect is kept unless --fit stretch
is given. EXIF data, the place where a photo was taken included, is left behind.

  python resize_images.py --raw-dir ./data/raw --save-dir ./data/images --ext jpg \\
      --target-size "(800, 600)"
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from atomic import atomic_write
from console import InputError, progress, run, say, warn
from dataset import resizing, voc
from dataset.annotations import listed
from dataset.folder import SPLITS, Photo, photos
from dataset.image import EXTENSIONS, open_upright, read_header, shown
from dataset.parallel import ordered

_KEPT = (".jpg", ".jpeg", ".png")
_DEFAULT_EXTENSIONS = "jpg,jpeg,png,heic,webp"


@dataclass(frozen=True)
class Job:
    """One photo to resize: where from, where to."""

    photo: Photo
    output: Path
    target: tuple[int, int]
    fit: str
    quality: int


class Done(NamedTuple):
    """``problem`` is empty when all went well; ``remark`` is for the user's attention."""

    problem: str = ""
    remark: str = ""
    lost_boxes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--raw-dir", type=Path, default=Path("data/raw"), help="folder of the photos as taken"
    )
    parser.add_argument(
        "--save-dir", type=Path, default=Path("data/images"), help="folder to write to"
    )
    parser.add_argument(
        "--ext",
        nargs="+",
        default=[_DEFAULT_EXTENSIONS],
        help=f"endings to take, in any case (default: {_DEFAULT_EXTENSIONS})",
    )
    parser.add_argument(
        "--target-size",
        default="(800, 600)",
        help='width and height in pixels, as "(800, 600)" or 800x600',
    )
    parser.add_argument(
        "--fit",
        choices=resizing.FITS,
        default="inside",
        help="inside: keep the aspect, at most the target (default); pad: grey bars fill the rest; "
        "crop: cut to the middle; stretch: exactly the target, distorted",
    )
    parser.add_argument(
        "--new-only",
        action="store_true",
        help="leave out photos whose result is there already, also in train/ or test/",
    )
    parser.add_argument("--quality", type=int, default=95, help="of JPEG, 1 to 100 (default: 95)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: all cores)")
    args = parser.parse_args()

    target = size_of(args.target_size)
    if not 1 <= args.quality <= 100:
        raise InputError(f"--quality {args.quality}: give a number from 1 to 100.")
    if args.raw_dir.resolve() == args.save_dir.resolve():
        raise InputError(
            f"--raw-dir and --save-dir are both {shown(args.raw_dir)}: the photos as taken would "
            "be lost. Give another folder to write to."
        )
    chosen = chosen_photos(args.raw_dir, extensions_of(args.ext))
    outputs = outputs_of(chosen)
    jobs = [
        Job(photo, args.save_dir / name, target, args.fit, args.quality)
        for photo, name in zip(chosen, outputs)
    ]
    if args.new_only:
        jobs = [job for job in jobs if not already_there(job, args.save_dir)]
    elif any(already_there(job, args.save_dir / split) for job in jobs for split in SPLITS):
        warn(
            f"photos of these names are already split to folders in {shown(args.save_dir)}; "
            "with --new-only they are left out"
        )

    args.save_dir.mkdir(parents=True, exist_ok=True)
    results = list(progress(ordered(resize, jobs, args.workers), len(jobs), "resizing"))
    for remark in [done.remark for done in results if done.remark]:
        warn(remark)
    lost = sum(done.lost_boxes for done in results)
    if lost:
        warn(f"{lost} boxes lie in what was cut away, or became too small, and are gone")
    problems = [done.problem for done in results if done.problem]
    say(f"{shown(args.save_dir)}: {len(jobs) - len(problems)} photos written")
    if problems:
        raise InputError(listed(f"{len(problems)} photos could not be resized", problems))


def size_of(text: str) -> tuple[int, int]:
    """``(800, 600)``, ``800,600`` or ``800x600`` as width and height."""
    match = re.fullmatch(r"\s*[(\[]?\s*(\d{1,5})\s*[,x]\s*(\d{1,5})\s*[)\]]?\s*", text, re.ASCII)
    size = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if not all(16 <= side <= 16384 for side in size):
        raise InputError(
            f'--target-size "{text}": give width and height in pixels from 16 to 16384, '
            'for instance "(800, 600)".'
        )
    return size


def extensions_of(given: list[str]) -> set[str]:
    """``["jpg,PNG", ".heic"]`` as lower-case suffixes."""
    words = [word for text in given for word in re.split(r"[,\s]+", text) if word]
    suffixes = {"." + word.lower().lstrip("*").lstrip(".") for word in words}
    unknown = sorted(suffixes.difference(EXTENSIONS))
    if unknown or not suffixes:
        raise InputError(
            f"--ext {' '.join(given)}: these endings can be read: "
            f"{', '.join(suffix[1:] for suffix in EXTENSIONS)}."
        )
    return suffixes


def chosen_photos(folder: Path, suffixes: set[str]) -> list[Photo]:
    """The photos of ``folder`` with such endings; says which others there are."""
    found = photos(folder)
    chosen = [photo for photo in found if Path(photo.name).suffix.lower() in suffixes]
    others = Counter(Path(p.name).suffix.lower() for p in found) - Counter(
        Path(p.name).suffix.lower() for p in chosen
    )
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    if not chosen:
        raise InputError(
            f"{shown(folder)}: there is no photo ending in {' or '.join(sorted(suffixes))}"
            + (f", but {left_out}. Give those to --ext." if left_out else ". Put photos there.")
        )
    if left_out:
        warn(f"{shown(folder)}: photos with other endings are left out ({left_out}); see --ext")
    return chosen


def outputs_of(chosen: list[Photo]) -> list[str]:
    """The names to write; InputError when two photos would get one name or share one xml."""
    outputs = []
    taken: dict[str, str] = {}
    clashes = []
    for photo in chosen:
        path = Path(photo.name)
        outputs.append(photo.name if path.suffix.lower() in _KEPT else f"{path.stem}.jpg")
        first = taken.setdefault(path.stem.casefold(), photo.name)
        if first != photo.name:
            clashes.append(f"{shown(first)} and {shown(photo.name)}")
    if clashes:
        told = "would get the same name or share one annotation. Rename one of them."
        title = f"{len(clashes)} pairs of photos"
        raise InputError(listed(title, [f"{clash} {told}" for clash in clashes]))
    return outputs


def already_there(job: Job, folder: Path) -> bool:
    """Whether ``folder``, or a split in it, has the photo that the job would write."""
    return any((folder / split / job.output.name).exists() for split in ("", *SPLITS))


def resize(job: Job) -> Done:
    """Write one photo, and its annotation if it has one."""
    try:
        return _resize(job)
    except (InputError, OSError) as error:
        return Done(problem=str(error))


def _resize(job: Job) -> Done:
    source = job.photo.path
    header = read_header(source)
    plan = resizing.plan((header.width, header.height), job.target, job.fit)
    annotation, remark = None, ""
    if job.photo.xml is not None:
        annotation = voc.read(job.photo.xml)
        stated = (annotation.width, annotation.height)
        if stated == header.stored_size and stated != (header.width, header.height):
            annotation = resizing.upright(annotation, header.orientation)
        elif stated != (header.width, header.height):
            raise InputError(
                f"{shown(job.photo.xml)}: its boxes were drawn on {stated[0]}x{stated[1]} pixels, "
                f"but the photo has {header.width}x{header.height}. Annotate it again."
            )
        elif header.orientation != 1:
            remark = (
                f"{shown(source)}: the boxes are taken to be drawn on the upright photo, "
                "check them in the contact sheet"
            )
    else:
        _refuse_to_outdate(job, plan)
    image = resizing.apply(plan, open_upright(source, at_least=plan.scaled))
    with atomic_write(job.output) as temporary:
        image.save(
            temporary,
            "PNG" if job.output.suffix.lower() == ".png" else "JPEG",
            quality=job.quality,
            optimize=False,
        )
    if annotation is None:
        return Done(remark=remark)
    moved = resizing.move(plan, annotation, job.output.name)
    voc.write(job.output.with_suffix(".xml"), moved)
    return Done(remark=remark, lost_boxes=len(annotation.boxes) - len(moved.boxes))


def _refuse_to_outdate(job: Job, plan: resizing.Plan) -> None:
    """Boxes that were drawn on an earlier result must go on fitting it."""
    xml = job.output.with_suffix(".xml")
    if not xml.exists():
        return
    drawn = voc.read(xml)
    if (drawn.width, drawn.height) != plan.canvas:
        raise InputError(
            f"{shown(xml)}: its boxes were drawn on {drawn.width}x{drawn.height} pixels, and the "
            f"photo would now get {plan.canvas[0]}x{plan.canvas[1]}. Give another --save-dir."
        )


if __name__ == "__main__":
    run(main)
