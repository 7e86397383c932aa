"""What every runtime returns and everything else takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """The objects found in one photo, best score first.

    ``boxes``: float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the original upright photo.
    ``classes``: int32 [N], 0-based index into the detector's class names.
    ``scores``: float32 [N], 0 to 1.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape}, classes {self.classes.shape} and scores "
                f"{self.scores.shape} do not describe the same detections"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.classes[keep], self.scores[keep])
