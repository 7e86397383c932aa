"""From the outputs of the head convolutions, one of each kind a level, to raw heads.

An NPU runs convolutions in 8 bits, each output in a range of its own. Sigmoid, change of layout and
concatenation behind them would cost it more time and exactness than they cost the processor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def join(outputs: Sequence[np.ndarray], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [N, C] and box codes float32 [N, 4] of all anchors.

    ``outputs``: for each level, finest first, the logits of the classes [1, A*K, h, w], then for
    each level the box codes [1, A*4, h, w]; A anchors a place, K the ``classes`` and, before them,
    perhaps background. Anchors come in the order level, row, column, anchor. ValueError where the
    shapes are not of this kind.
    """
    levels = len(outputs) // 2
    logits, codes = outputs[:levels], outputs[levels:]
    fits = len(outputs) == 2 * levels > 0 and all(
        one.ndim == other.ndim == 4
        and one.shape[0] == 1
        and one.shape[2:] == other.shape[2:]
        and other.shape[1] % 4 == 0
        and one.shape[1] * 4 in (other.shape[1] * classes, other.shape[1] * (classes + 1))
        for one, other in zip(logits, codes)
    )
    if not fits:
        raise ValueError(
            f"outputs {[one.shape for one in outputs]} are not the logits of {classes} classes and "
            "the box codes of the same levels"
        )
    columns = logits[0].shape[1] * 4 // codes[0].shape[1]
    scores = np.concatenate([_rows(one, columns) for one in logits])[:, columns - classes :]
    # The sigmoid, without exp() of a large number.
    scores = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * scores)
    return scores, np.concatenate([_rows(one, 4) for one in codes])


def _rows(output: np.ndarray, columns: int) -> np.ndarray:
    return output[0].transpose(1, 2, 0).reshape(-1, columns).astype(np.float32, copy=False)
