from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from detection.drawing import colour, draw_boxes


def test_boxes_are_drawn_in_the_colour_of_their_class():
    image = Image.new("RGB", (400, 300), "white")
    drawn = draw_boxes(image, np.array([[50, 60, 150, 160]]), [""], [3])
    assert drawn.getpixel((50, 100)) == drawn.getpixel((100, 160)) == colour(3)
    assert drawn.getpixel((100, 100)) == (255, 255, 255)
    assert image.getpixel((50, 100)) == (255, 255, 255), "the original is untouched"


@pytest.mark.parametrize("box", [[50, 0, 90, 40], [380, 280, 399, 299], [0, 0, 400, 300]])
def test_labels_stay_inside_the_picture(box):
    blank = draw_boxes(Image.new("RGB", (400, 300), "white"), np.array([box]), [""], [0])
    drawn = draw_boxes(Image.new("RGB", (400, 300), "white"), np.array([box]), ["washer"], [0])
    changed = np.any(np.asarray(blank) != np.asarray(drawn), axis=2)
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 200
    assert columns.max() - columns.min() > 25 and rows.max() - rows.min() > 8


@pytest.mark.parametrize("box", [[90, 90, 10, 10], [-500, -20, 9000, 20], [1e9, 1e9, 2e9, 2e9]])
def test_senseless_boxes_do_not_stop_the_drawing(box):
    draw_boxes(Image.new("L", (100, 100)), np.array([box]), ["ねじ\n\udcff"], [123456])


def test_no_boxes():
    image = Image.new("RGB", (40, 30), "white")
    assert np.array_equal(np.asarray(draw_boxes(image, np.zeros((0, 4)), [], [])), image)


def test_neighbouring_classes_have_clearly_different_colours():
    colours = np.array([colour(index) for index in range(12)], int)
    for index, one in enumerate(colours):
        others = np.delete(colours, index, axis=0)
        assert np.abs(others - one).sum(axis=1).min() > 60


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("Mutter M8 (größer)", "Mutter M8 (grosser)"),
        ("Żółw – 3×", "Zolw - 3x"),
        ("ねじ", "??"),
        ("broken\udce4", "broken?"),
    ],
)
def test_names_are_drawn_in_letters_that_the_font_has(name, readable):
    empty, box = Image.new("RGB", (400, 100)), np.array([[10, 40, 60, 90]])

    drawn = [np.asarray(draw_boxes(empty, box, [text], [0])) for text in (name, readable)]

    assert (drawn[0] == drawn[1]).all()
