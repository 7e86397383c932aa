"""The records as TensorFlow and Model Garden read them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from samples import annotate, dataset, photo, picture, stage

from dataset.folder import photos
from dataset.image import load_photo

tf = pytest.importorskip("tensorflow")
decoder = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset with every kind of photo, and its records."""
    root = tmp_path_factory.mktemp("records")
    data = dataset(root / "data", train=2)
    box = [("nut", 10, 8, 40, 60)]
    annotate(photo(data / "train/turned.jpg", 20, (96, 64), 6), box, (64, 96))
    annotate(photo(data / "train/many/../p.png", 21), box)
    annotate(photo(data / "train/w.webp", 22), box)
    annotate(photo(data / "train/negative.jpg", 23), [])
    picture(24).convert("CMYK").save(data / "train/cmyk.jpg", quality=95)
    annotate(data / "train/cmyk.jpg", box)
    deep = np.asarray(picture(25).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(data / "train/deep.png")
    annotate(data / "train/deep.png", box)
    picture(26).convert("P").save(data / "train/palette.png")
    annotate(data / "train/palette.png", [("bolt", 90, 60, 97, 65)])
    done = stage("make_records.py", "--data", data, "--output", root / "out")
    assert done.returncode == 0, done.stderr
    return data, root / "out"


def test_model_garden_decodes_what_everybody_sees(made):
    data, output = made
    parse = decoder.TfExampleDecoder()
    found = photos(data / "train")
    serialised = list(tf.data.TFRecordDataset(str(output / "train.record")))
    assert len(serialised) == len(found) == 9
    ids = []
    for number, (one, source) in enumerate(zip(serialised, found, strict=True), start=1):
        decoded = parse.decode(one)
        seen = load_photo(source.path)
        assert decoded["image"].shape == seen.shape
        assert np.abs(decoded["image"].numpy().astype(int) - seen).mean() < 2, source.name
        assert (decoded["height"], decoded["width"]) == seen.shape[:2]
        ids.append(int(decoded["source_id"].numpy()))
        assert ids[-1] == number
    assert len(set(ids)) == len(ids)


def test_boxes_and_classes(made):
    data, output = made
    parse = decoder.TfExampleDecoder()
    names = [source.name for source in photos(data / "train")]
    records = list(tf.data.TFRecordDataset(str(output / "train.record")))
    decoded = {name: parse.decode(one) for name, one in zip(names, records, strict=True)}
    assert decoded["0.jpg"]["groundtruth_classes"].numpy().tolist() == [1, 1, 1, 2, 2]
    turned = decoded["turned.jpg"]["groundtruth_boxes"].numpy()
    assert np.allclose(turned, [[8 / 96, 10 / 64, 60 / 96, 40 / 64]])
    assert decoded["negative.jpg"]["groundtruth_boxes"].shape == (0, 4)
    clipped = decoded["palette.png"]["groundtruth_boxes"].numpy()
    assert np.allclose(clipped, [[60 / 64, 90 / 96, 1, 1]])


def test_the_keys_are_those_of_the_object_detection_api(made):
    _, output = made
    first = next(iter(tf.data.TFRecordDataset(str(output / "train.record"))))
    features = tf.train.Example.FromString(first.numpy()).features.feature
    assert sorted(features) == [
        "image/encoded",
        "image/filename",
        "image/format",
        "image/height",
        "image/object/bbox/xmax",
        "image/object/bbox/xmin",
        "image/object/bbox/ymax",
        "image/object/bbox/ymin",
        "image/object/class/label",
        "image/object/class/text",
        "image/source_id",
        "image/width",
    ]
    assert features["image/filename"].bytes_list.value[0] == b"0.jpg"
    assert features["image/format"].bytes_list.value[0] == b"jpeg"
    text = features["image/object/class/text"].bytes_list.value
    assert list(text) == [b"bolt"] * 3 + [b"nut"] * 2
    assert np.allclose(features["image/object/bbox/xmin"].float_list.value[0], 5 / 96)


def test_serialisation_is_protocol_buffers_own(made):
    """Parsing and serialising again gives the same bytes: nothing is lost or foreign."""
    _, output = made
    for one in tf.data.TFRecordDataset(str(output / "train.record")):
        example = tf.train.Example.FromString(one.numpy())
        assert len(example.SerializeToString(deterministic=True)) == len(one.numpy())
