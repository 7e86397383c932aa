from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from samples import photo, picture

from dataset.image import PhotoError, load_photo, open_upright, read_header, shown


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(tmp_path, orientation):
    path = photo(tmp_path / "a.jpg", 1, (96, 64), orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(load_photo(path), expected)
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2]
    assert header.stored_size == (96, 64)
    assert header.orientation == orientation


def test_orientation_that_does_not_exist_is_ignored(tmp_path):
    assert load_photo(photo(tmp_path / "a.jpg", 1, orientation=77)).shape == (64, 96, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_pixel_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    grey = picture(2).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    image.save(path)
    loaded = load_photo(path)
    assert loaded.dtype == np.uint8 and loaded.shape == (64, 96, 3)
    if mode in ("L", "RGBA", "LA", "I;16"):
        assert np.abs(loaded[..., 0].astype(int) - np.asarray(grey)).max() <= 1


def test_content_counts_and_not_the_ending(tmp_path):
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_header(tmp_path / "a.jpg").format == "PNG"
    assert load_photo(tmp_path / "a.jpg").shape == (64, 96, 3)


@pytest.mark.parametrize("ending", ["heic", "webp", "bmp", "tif"])
def test_formats_of_phones_and_scanners(tmp_path, ending):
    if ending == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"a.{ending}"
    picture(1).save(path, **({"quality": 95} if ending in ("heic", "webp") else {}))
    difference = load_photo(path).astype(int) - np.asarray(picture(1))
    assert np.abs(difference).mean() < 6


def test_scaled_decoding_is_smaller_but_not_too_small(tmp_path):
    path = photo(tmp_path / "a.jpg", 1, (960, 640), orientation=6)
    image = open_upright(path, at_least=(150, 230))
    assert image.size == (160, 240)
    assert open_upright(path).size == (640, 960)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_off_photo_is_refused(tmp_path, share):
    path = photo(tmp_path / "a.jpg", 1, (640, 480))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PhotoError, match=r"a\.jpg: .*copy it again"):
        load_photo(path)


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff", b"<html></html>" * 99])
def test_what_is_no_photo_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"a\.jpg: it "):
        read_header(path)


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(PhotoError, match="pixels"):
        load_photo(path)


def test_missing_files_and_link_loops(tmp_path):
    with pytest.raises(PhotoError, match="no such file"):
        load_photo(tmp_path / "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(PhotoError, match=r"loop\.jpg: it cannot be read"):
        load_photo(tmp_path / "loop.jpg")


def test_names_that_are_not_utf8_can_be_told(tmp_path):
    name = os.fsdecode(b"photo\xff.jpg")
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(PhotoError) as caught:
        load_photo(tmp_path / name)
    str(caught.value).encode("utf-8")
    assert shown(name) == "photo\\udcff.jpg"
