"""Weights of other projects inside Model Garden's backbones, and hostile weights files."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from console import InputError

import garden.quiet  # noqa: F401  (before TensorFlow)  # isort: skip
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import efficientnet, mobilenet

from garden import backbone_weights, weights
from garden.torch_file import read_tensors

OFFERED = weights.read_list(Path(__file__).resolve().parents[2] / "configs" / "weights.toml")
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def _photo(size: int) -> np.ndarray:
    """A smooth coloured picture, uint8 [1, size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = [np.sin(9 * x + 4 * y), np.cos(7 * y * x), np.sin(5 * (x - y) ** 2)]
    return (127 + 120 * np.stack(channels, axis=-1)[None]).astype(np.uint8)


def test_mobilenet_gives_the_features_of_the_frozen_graph() -> None:
    path = weights.package_file(OFFERED["mobilenetv2-coco"])
    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    scaled = _photo(160).astype(np.float32) / 127.5 - 1.0
    names = {
        "3": "expanded_conv_5/output",
        "4": "expanded_conv_12/output",
        "5": "expanded_conv_16/output",
    }
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        prefix = "FeatureExtractor/MobilenetV2/"
        with tf.compat.v1.Session(graph=graph) as session:
            expected = session.run(
                {level: f"{prefix}{name}:0" for level, name in names.items()},
                {f"{prefix}MobilenetV2/input:0": scaled},
            )
    backbone = mobilenet.MobileNet(
        "MobileNetV2", input_specs=tf_keras.layers.InputSpec(shape=[None, 160, 160, 3])
    )
    backbone_weights.assign(backbone, backbone_weights.mobilenet_v2(path))
    features = backbone(scaled, training=False)
    for level, values in expected.items():
        np.testing.assert_allclose(features[level].numpy(), values, rtol=1e-5, atol=1e-4)


def test_lite0_gives_the_features_of_a_plain_recomputation() -> None:
    """The network once more, from the tensors' names and the published structure alone."""
    path = weights.package_file(OFFERED["efficientnet-lite0-imagenet"])
    tensors = read_tensors(path)
    image = ((_photo(96).astype(np.float32) - 127.0) / 128.0).astype(np.float32)

    def norm(x, name):
        scale = tensors[f"{name}.weight"] / np.sqrt(tensors[f"{name}.running_var"] + 1e-3)
        return (x - tensors[f"{name}.running_mean"]) * scale + tensors[f"{name}.bias"]

    def convolve(x, name, stride=1):
        kernel = tensors[f"{name}.weight"]
        if kernel.shape[1] == 1 and "depthwise" in name:
            kernel = np.moveaxis(kernel, (2, 3, 0, 1), (0, 1, 2, 3))
            return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME").numpy()
        return tf.nn.conv2d(x, np.einsum("oihw->hwio", kernel), stride, "SAME").numpy()

    def clip(x):
        return np.clip(x, 0.0, 6.0)

    x = clip(norm(convolve(image, "_conv_stem", 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    outputs = []
    for number, stride in enumerate(strides):
        name = f"_blocks.{number}."
        y = x
        if number:
            y = clip(norm(convolve(y, f"{name}_expand_conv"), f"{name}_bn0"))
        y = clip(norm(convolve(y, f"{name}_depthwise_conv", stride), f"{name}_bn1"))
        y = norm(convolve(y, f"{name}_project_conv"), f"{name}_bn2")
        x = x + y if stride == 1 and x.shape == y.shape else y
        outputs.append(x)

    backbone = efficientnet.EfficientNet(
        "b0",
        input_specs=tf_keras.layers.InputSpec(shape=[None, 96, 96, 3]),
        activation="relu6",
    )
    backbone_weights.assign(backbone, backbone_weights.efficientnet_lite0(path))
    features = backbone(image, training=False)
    for level, number in {"2": 2, "3": 4, "4": 10, "5": 15}.items():
        scale = np.abs(outputs[number]).max()
        assert np.abs(features[level].numpy() - outputs[number]).max() <= 1e-4 * max(1.0, scale)


def test_folded_input_scaling_changes_nothing_inside() -> None:
    """A first layer fed Model Garden's pixels equals the original one fed its own."""
    units = backbone_weights.mobilenet_v2(weights.package_file(OFFERED["mobilenetv2-coco"]))
    photo = _photo(32).astype(np.float32)
    garden_pixels = (photo - np.array([123.675, 116.28, 103.53])) / np.array(
        [58.395, 57.12, 57.375]
    )

    def first(unit: backbone_weights.Unit, image: np.ndarray) -> np.ndarray:
        x = tf.nn.conv2d(image.astype(np.float32), unit.kernel, 2, "VALID").numpy()
        return (x - unit.mean) / np.sqrt(unit.variance + 1e-3) * unit.gamma + unit.beta

    folded = backbone_weights.rescale_input(units, 127.5, 127.5)
    np.testing.assert_allclose(
        first(folded[0], garden_pixels), first(units[0], photo / 127.5 - 1.0), atol=1e-4
    )
    assert folded[1:] == units[1:]


def _torch_file(entries: object, keys: list[str], storages: bytes) -> bytes:
    parts = [MAGIC, PROTOCOL, {"little_endian": True}]
    header = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    body = entries if isinstance(entries, bytes) else pickle.dumps(entries, protocol=2)
    return header + body + pickle.dumps(keys, protocol=2) + storages


class _RunsACommand:
    def __reduce__(self):
        return os.system, ("touch pickle-was-run",)


def test_a_pickle_that_calls_functions_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pth"
    path.write_bytes(_torch_file(OrderedDict(weight=_RunsACommand()), [], b""))
    with pytest.raises(InputError, match="which weights have no use for"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(_RunsACommand(), protocol=2))
    with pytest.raises(InputError):
        read_tensors(path)
    assert not (tmp_path / "pickle-was-run").exists()


def _tensor_pickle(elements: int, offset: int, shape: tuple, stride: tuple) -> bytes:
    """An OrderedDict with one tensor ``w``, written opcode by opcode as torch would."""

    def integers(values: tuple) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("7")
        + text("cpu")
        + b"J"
        + struct.pack("<i", elements)
        + b"Nt"
        + b"Q"
    )
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"J"
        + struct.pack("<i", offset)
        + integers(shape)
        + integers(stride)
        + b"\x89"
        + b"ccollections\nOrderedDict\n)R"
        + b"tR"
    )
    return b"\x80\x02ccollections\nOrderedDict\n)R" + text("w") + tensor + b"s."


def _storage(values: list[float]) -> bytes:
    return struct.pack("<q", len(values)) + np.array(values, "<f4").tobytes()


def test_a_plain_weights_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    body = _tensor_pickle(6, 0, (2, 3), (1, 2))
    path.write_bytes(_torch_file(body, ["7"], _storage([0, 1, 2, 3, 4, 5])))
    np.testing.assert_array_equal(read_tensors(path)["w"], [[0, 2, 4], [1, 3, 5]])


@pytest.mark.parametrize(
    ("body", "storages"),
    [
        (_tensor_pickle(6, 0, (100, 100), (100, 1)), _storage([0] * 6)),
        (_tensor_pickle(6, -4, (2, 3), (3, 1)), _storage([0] * 6)),
        (_tensor_pickle(6, 0, (2, 3), (-3, 1)), _storage([0] * 6)),
        (_tensor_pickle(6, 0, (2, 3), (3, 1)), struct.pack("<q", 2**62)),
        (_tensor_pickle(6, 0, (2, 3), (3, 1)), _storage([0] * 6)[:-4]),
        (b"\x80\x02]", b""),
        (b"", b""),
    ],
    ids=["beyond", "negative offset", "negative stride", "huge", "truncated", "no end", "empty"],
)
def test_a_damaged_weights_file_is_an_input_error(tmp_path: Path, body, storages) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(_torch_file(body, ["7"], storages))
    with pytest.raises(InputError, match=r"damaged\.pth"):
        read_tensors(path)


def test_names_paths_and_random_are_told_apart(tmp_path: Path) -> None:
    assert weights.choose("random", "retinanet_mobilenetv2", OFFERED) is None
    chosen = weights.choose("auto", "retinanet_mobilenetv2", OFFERED)
    assert chosen == OFFERED["mobilenetv2-coco"]
    # A variant of a model starts from what the model starts from.
    assert weights.choose("auto", "retinanet_mobilenetv2_thorough", OFFERED) == chosen
    assert weights.choose("auto", "fasterrcnn_resnet50", OFFERED) is None
    assert weights.choose(str(tmp_path), "retinanet_mobilenetv2", OFFERED) == tmp_path
    with pytest.raises(InputError, match="not for retinanet_resnet50"):
        weights.choose("mobilenetv2-coco", "retinanet_resnet50", OFFERED)
    with pytest.raises(InputError, match="fetched from"):
        weights.choose("retinanet-resnet50-coco", "retinanet_resnet50", OFFERED)
    with pytest.raises(InputError, match="auto, random, mobilenetv2-coco"):
        weights.choose("mobilenet-coco", "retinanet_mobilenetv2", OFFERED)


def test_an_unknown_key_in_the_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.toml"
    path.write_text('[mine]\nmodels = []\norigin = ""\nlicence = ""\nurls = ""\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"\[mine\].*urls"):
        weights.read_list(path)


def test_an_archive_that_climbs_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("../../escaped.index")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(InputError, match="neither a checkpoint nor a tar archive"):
        weights.prepare(path, None, tmp_path / "work" / "start")
    assert not list(tmp_path.rglob("escaped.index"))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no TensorFlow checkpoint"):
        weights.prepare(tmp_path, None, tmp_path / "start")
