"""TensorFlow: the reference that every other runtime is held against."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np

from console import InputError
from detection.detections import Detections
from detection.detector import TWO_STAGE, WHOLE, Detector, read_detector
from detection.runtimes import Features, RawHeads, TwoStages

Signature = Callable[..., dict[str, np.ndarray]]


@dataclass(frozen=True)
class WholeModel:
    """A SavedModel with everything inside, resize and NMS included.

    The only way to run what has no raw heads. ``model`` takes uint8
    [1, height, width, 3] and returns the outputs described in docs/ARTIFACTS.md.
    """

    detector: Detector
    model: Callable[[np.ndarray], dict[str, np.ndarray]]

    def detect(self, photo: np.ndarray) -> Detections:
        """The objects in ``photo``, uint8 [height, width, 3], RGB, upright."""
        found = self.model(photo[None])
        count = int(found["num_detections"][0])
        height, width = photo.shape[:2]
        corners = found["detection_boxes"][0, :count][:, [1, 0, 3, 2]]
        classes = found["detection_classes"][0, :count].astype(np.int32) - 1
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.detector.classes):
            raise InputError(
                f"{self.detector.name} finds classes with ids from {classes.min() + 1} to "
                f"{classes.max() + 1}, but its label map names {len(self.detector.classes)}. "
                "Import it again with the label map that it was trained with."
            )
        return Detections(
            corners * np.array([width, height] * 2, np.float32),
            classes,
            found["detection_scores"][0, :count],
        )


def load(
    folder: Path, device: str = "", threads: int = 0
) -> Union[RawHeads, TwoStages, WholeModel]:
    """The detector in ``folder``, an export. Loads in seconds; the first photo takes longer.

    ``device`` is not used: TensorFlow takes a GPU where it sees one.
    """
    detector = read_detector(folder)
    if threads:
        tf = _tensorflow()
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if detector.kind == WHOLE:
        return whole_model(folder)
    signature = _signature(Path(folder) / "raw_heads")
    if detector.kind == TWO_STAGE:
        return _two_stages(detector, signature, _signature(Path(folder) / "box_head"))

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = signature(images=picture)
        return outputs["scores"][0], outputs["boxes"][0]

    return RawHeads(detector, network)


def _two_stages(detector: Detector, raw_heads: Signature, box_head: Signature) -> TwoStages:
    def first(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, Features]:
        outputs = raw_heads(images=picture)
        return outputs.pop("scores")[0], outputs.pop("boxes")[0], outputs

    def second(features: Features, proposals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = box_head(**features, proposals=proposals[None])
        return outputs["scores"][0], outputs["boxes"][0]

    return TwoStages(detector, first, second)


def whole_model(folder: Path) -> WholeModel:
    """The detector in ``folder`` through its ``saved_model``, whatever its kind."""
    signature = _signature(Path(folder) / "saved_model")
    return WholeModel(read_detector(folder), lambda photo: signature(inputs=photo))


def _signature(folder: Path) -> Signature:
    if not (folder / "saved_model.pb").is_file():
        raise InputError(f"{folder}: there is no SavedModel. Export the detector again.")
    tf = _tensorflow()
    model = tf.saved_model.load(str(folder))
    function = model.signatures["serving_default"]

    def call(**given: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(**{name: tf.constant(value) for name, value in given.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    # The function lives only as long as the object it came from.
    call.model = model  # type: ignore[attr-defined]
    return call


def _tensorflow() -> Any:
    """TensorFlow takes seconds to import: only when something is really to be run."""
    # It logs missing CUDA as errors; its real errors come as Python exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow
