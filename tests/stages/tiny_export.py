"""Makes what converters and runtimes are tested with, where TensorFlow is: run in `train`.

    python tests/stages/tiny_export.py artifacts/.tests/tiny

export/ and onnx/ of a network that has learned nothing, data/ to calibrate on, heads.npz with a
picture and what TensorFlow makes of it, and tflite/<precision>/ for the environment of LiteRT,
which cannot convert. two/ has the same of a two-stage detector.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

TINY = Path(__file__).resolve().parents[2] / "artifacts" / ".tests" / "tiny"
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PRECISIONS = ("fp32", "fp16", "int8")


def main(folder: Path) -> None:
    sys.path[:0] = [str(SCRIPTS), str(Path(__file__).parent)]
    import samples
    import untrained

    import convert_litert
    import export
    import make_onnx
    from conversion import Request
    from detection.detector import read_detector
    from detection.preprocess import network_input
    from detection.runtimes import tensorflow

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = samples.dataset(folder / "data", train=12, test=2)
    train = untrained.write_training(folder / "train")
    records = untrained.write_records(folder / "records")
    exported = folder / "export"
    export.export(train, records, exported)
    make_onnx.make_onnx(exported, folder / "onnx")
    detector = read_detector(exported)
    for precision in PRECISIONS:
        output = folder / "tflite" / precision
        output.mkdir(parents=True)
        asked = Request(exported, None, data, precision, "", 1, output, detector, attempts=1)
        convert_litert.convert(asked)
    photo = np.asarray(samples.picture(99, (200, 150)))
    picture = network_input(photo, detector.input)
    scores, boxes = tensorflow.load(exported).network(picture)
    np.savez(folder / "heads.npz", photo=photo, picture=picture, scores=scores, boxes=boxes)
    two_stages(folder / "two", picture)


def two_stages(folder: Path, picture: np.ndarray) -> None:
    """export/, onnx/ and networks.npz: what goes into both networks, and what comes out."""
    import untrained

    import export
    import make_onnx
    from detection.detector import write_detector
    from detection.runtimes import tensorflow
    from detection.two_stages import propose
    from garden import config
    from garden.model import load_detector

    experiment, model = load_detector(untrained.write_training(folder / "train", config.FASTERRCNN))
    detector = export.describe(experiment, {"classes": untrained.CLASSES, "model": "two"})
    exported = folder / "export"
    exported.mkdir()
    export.write_two_networks(model, detector, exported)
    write_detector(exported, detector)
    make_onnx.make_onnx(exported, folder / "onnx")
    runtime = tensorflow.load(exported)
    scores, codes, features = runtime.first(picture)
    proposals, _ = propose(scores, codes, detector)
    region_scores, region_codes = runtime.second(features, proposals)
    np.savez(
        folder / "networks.npz",
        **{"picture": picture, "scores": scores, "codes": codes, "proposals": proposals},
        **{"region_scores": region_scores, "region_codes": region_codes, **features},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
