"""Makes what converters and runtimes are tested with, where TensorFlow is: run in `train`.

    python tests/stages/tiny_export.py artifacts/.tests/tiny

export/ and onnx/ of a network that has learned nothing, data/ to calibrate on, heads.npz with a
picture and what TensorFlow makes of it, and tflite/<precision>/ for the environment of LiteRT,
which cannot convert.
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
