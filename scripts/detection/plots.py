"""Pictures of an evaluation: curves, the confusion matrix, photos with what is wrong in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atomic import atomic_write
from detection.detections import Detections
from detection.drawing import colour, draw_boxes, in_ascii
from detection.metrics import CocoResult, PhotoErrors, Truth

_SIDE = 800  # pixels of the longer side of a photo in a picture of two
_NAMED = 12  # more curves than this cannot be told apart by colour
_NUMBERED = 30  # more classes than this leave no room for a number in each cell


def precision_recall(path: Path, result: CocoResult, classes: Sequence[str]) -> None:
    """One curve for each class that occurs: solid at an IoU of 0.5, dotted at 0.75."""
    figure, axes = _figure(8.5, 4.5)
    recall = np.linspace(0, 1, result.precision.shape[1])
    curves = [i for i in range(len(classes)) if not np.isnan(result.precision[0, 0, i])]
    for index in curves:
        shade = np.array(colour(index)) / 255 * 0.85
        values = result.of_class(index)
        label = f"{classes[index]}: {values['AP50']:.2f}, {values['AP75']:.2f}"
        axes.plot(
            recall,
            result.precision[0, :, index],
            color=shade,
            linewidth=2,
            label=label if len(curves) <= _NAMED else None,
        )
        axes.plot(recall, result.precision[5, :, index], color=shade, linestyle=":", linewidth=1.5)
    if len(curves) > _NAMED:
        mean = np.nanmean(result.precision[0], axis=1)
        axes.plot(recall, mean, color="black", linewidth=3, label="mean of all classes")
    axes.set(
        xlim=(0, 1.01),
        ylim=(0, 1.03),
        xlabel="recall: part of the objects that is found",
        ylabel="precision: part of the detections that is right",
        title="Precision and recall at IoU 0.50 (solid) and 0.75 (dotted)",
    )
    axes.grid(alpha=0.25)
    if curves:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), title="AP50, AP75", frameon=False)
    _save(path, figure)


def confusion_matrix(
    path: Path, counts: np.ndarray, classes: Sequence[str], score_threshold: float
) -> None:
    """``counts`` as ``metrics.confusion`` gives them: right ones blue, errors orange, by share."""
    size = len(counts)
    side = min(14.0, 3.2 + 0.62 * size)
    figure, axes = _figure(side + 0.6, side)
    objects = counts.sum(axis=1)
    # The last row has no objects of its own: a false detection weighs as in the largest class.
    objects[-1] = max(objects.max(), 1)
    shares = counts / np.maximum(objects, 1)[:, None]
    right = np.eye(size, dtype=bool)
    for part, colours in ((right, "Blues"), (~right, "Oranges")):
        axes.imshow(np.ma.masked_array(shares, ~part | (counts == 0)), cmap=colours, vmin=0, vmax=1)
    if size <= _NUMBERED:
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                dark = shares[row, column] > 0.55
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                )
    font = min(10.0, 320 / size)
    names = {"rotation": 45, "ha": "right", "fontsize": font}
    axes.set_xticks(range(size), [*classes, "(missed)"], **names)
    axes.set_yticks(range(size), [*classes, "(nothing there)"], fontsize=font)
    axes.set(
        xlabel="detected as",
        ylabel="annotated as",
        title=f"Objects and detections, score ≥ {score_threshold:g}, IoU ≥ 0.5",
    )
    axes.title.set_fontsize(10)
    _save(path, figure)


def compared(
    photo: np.ndarray,
    *,
    truth: Truth,
    found: Detections,
    errors: PhotoErrors,
    classes: Sequence[str],
    name: str,
    sides: tuple[str, str] = ("annotated", "detected"),
) -> Image.Image:
    """What should be found on the left, the detections on the right, errors named on the boxes.

    ``sides`` are the titles of the two. ``found`` are the detections to show; the indices in
    ``errors`` refer to them.
    """
    image = Image.fromarray(photo)
    factor = min(1.0, _SIDE / max(image.size))
    image = image.resize([max(1, round(side * factor)) for side in image.size])
    missed, false, poor = (
        set(part.tolist()) for part in (errors.missed, errors.false, errors.poor)
    )
    # Of the right ones only the colour speaks: with every box named, the wrong ones would drown.
    left = draw_boxes(
        image,
        truth.boxes * factor,
        [f"{classes[c]} missed" if i in missed else "" for i, c in enumerate(truth.classes)],
        truth.classes,
    )
    labels = [
        f"{classes[c]} {s:.2f}" + (" false" if i in false else " loose" if i in poor else "")
        for i, (c, s) in enumerate(zip(found.classes, found.scores))
    ]
    # The best last: it covers the others.
    right = draw_boxes(image, found.boxes[::-1] * factor, labels[::-1], found.classes[::-1])
    gap, head = 12, 34
    sheet = Image.new(
        "RGB", (max(2 * image.width + gap, 420), image.height + head), (255, 255, 255)
    )
    sheet.paste(left, (0, head))
    sheet.paste(right, (image.width + gap, head))
    text = f"{len(missed)} missed, {len(false)} false, {len(poor)} loose (IoU below 0.75)"
    font = ImageFont.load_default(size=17)
    canvas = ImageDraw.Draw(sheet)
    canvas.text((4, 7), f"{in_ascii(name)}: {sides[0]}", fill="black", font=font)
    canvas.text((image.width + gap + 4, 7), f"{sides[1]}: {text}", fill="black", font=font)
    return sheet


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object interface draws without a display and leaves no state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(path: Path, figure: Any) -> None:
    with atomic_write(path) as temporary:
        # Without the date and the version, equal results are equal files.
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
