"""`./inv data.*`: photos brought to a size, split, fetched, rendered."""

from __future__ import annotations

from invoke import Collection

from commands.command import command
from pipeline import tools
from pipeline.command_line import after_dashes


@command
def fetch(_, dataset, from_=None):
    """Download a dataset, every file checked by sha256: inv data.fetch fruits"""
    tools.fetch(dataset, from_)


@command
def resize(_, raw_dir="data/raw", save_dir="data/images", runner="auto"):
    """Bring photos to one size, upright; further flags after --, see: inv data.resize -- --help"""
    folders = {"raw-dir": (raw_dir, "read"), "save-dir": (save_dir, "make")}
    tools.dataset_program("train", "resize_images.py", folders, after_dashes(), runner)


@command
def split(_, images="data/images", runner="auto"):
    """Split photos into train/ and test/; further flags after --, see: inv data.split -- --help"""
    folders = {"images": (images, "write")}
    tools.dataset_program("train", "split_dataset.py", folders, after_dashes(), runner)


@command
def render(_, output="data/rendered", runner="auto"):
    """Render photos of bolts, nuts and washers with exact boxes, as the sample photos were."""
    folders = {"output": (output, "make")}
    tools.dataset_program("render", "render_photos.py", folders, after_dashes(), runner)


namespace = Collection("data", fetch, resize, split, render)
