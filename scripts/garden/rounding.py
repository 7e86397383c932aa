"""Rounding to 8 bits, simulated inside a model while it trains.

Quantization-aware training (Jacob et al. 2018, section 3): what goes into each convolution and each
kernel is rounded as int8 arithmetic will, the gradient passes as if it were not, and so the weights
move to where rounding costs little. Kernels have a range for each output channel, which commutes
with BatchNorm: that need not be folded. The model itself stays as it is: when the simulation ends,
its weights are quantized after training like any other's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf
import tf_keras

_LAYERS = tf_keras.layers
_KINDS = (_LAYERS.Conv2D, _LAYERS.DepthwiseConv2D, _LAYERS.SeparableConv2D)


class Rounding:
    """The ranges of what goes into the convolutions of ``model``, and the rounding by them."""

    def __init__(self, model: tf_keras.Model) -> None:
        self._layers = [one for one in model.submodules if isinstance(one, _KINDS)]
        self._ranges: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
        self._watching = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the model computes as ever (call it eagerly), and its ranges are noted."""
        self._watching = True
        try:
            with self.simulated():
                yield
        finally:
            self._watching = False

    @contextlib.contextmanager
    def simulated(self) -> Iterator[None]:
        """Inside, the model computes as if in 8 bits, by the ranges that were noted."""
        for number, layer in enumerate(self._layers):
            layer.call = _rounding(layer, functools.partial(self._value, number))
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.call

    def _value(self, layer: int, slot: str, x: tf.Tensor) -> tf.Tensor:
        # Heads run on each level of the pyramid, which have ranges of their own.
        noted = self._ranges.setdefault((layer, slot, *x.shape[1:3]), [])
        if self._watching:
            noted.append((float(tf.reduce_min(x)), float(tf.reduce_max(x))))
            return x
        low = min(0.0, sum(one for one, _ in noted) / len(noted))
        high = max(sum(one for _, one in noted) / len(noted), low + 1e-6)
        return tf.quantization.fake_quant_with_min_max_args(x, low, high)


def _rounding(layer: Any, value: Callable[[str, tf.Tensor], tf.Tensor]) -> Any:
    """What ``layer.call`` does, with kernels rounded and what goes in replaced by ``value``."""
    strides = (1, *layer.strides, 1)
    padding = layer.padding.upper()
    dilations = layer.dilation_rate

    def depthwise(x: tf.Tensor) -> tf.Tensor:
        kernel = layer.depthwise_kernel
        channels = [*kernel.shape[:2], kernel.shape[2] * kernel.shape[3]]
        kernel = tf.reshape(_rounded(tf.reshape(kernel, channels)), kernel.shape)
        return tf.nn.depthwise_conv2d(value("in", x), kernel, strides, padding, None, dilations)

    def call(x: tf.Tensor) -> tf.Tensor:
        if isinstance(layer, _LAYERS.SeparableConv2D):
            between = value("between", depthwise(x))
            x = tf.nn.conv2d(between, _rounded(layer.pointwise_kernel), 1, "VALID")
        elif isinstance(layer, _LAYERS.DepthwiseConv2D):
            x = depthwise(x)
        else:
            x = layer.convolution_op(value("in", x), _rounded(layer.kernel))
        if layer.use_bias:
            x = tf.nn.bias_add(x, layer.bias)
        return x if layer.activation is None else layer.activation(x)

    return call


def _rounded(kernel: tf.Tensor) -> tf.Tensor:
    """Rounded to 255 steps in each of the last axis's channels."""
    largest = tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
    largest = tf.stop_gradient(tf.maximum(largest, 1e-9))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -largest, largest, num_bits=8, narrow_range=True
    )
