"""Which parts of a quantized OpenVINO network cost accuracy; those compute in floating point again.

Each part of the exact network is given back by itself to see what is gained by that, and then the
parts are given back together, those that gain most first. nncf's own search of this kind
(``quantize_with_accuracy_control``) goes layer by layer and has no limit of time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from attempts import Closeness
from console import say

_PARTS = 12
_SECONDS = 120.0  # for looking at single parts: a slow host then goes by those it has seen
_COMPUTING = ("Convolution", "GroupConvolution", "MatMul")


def candidates(quantized: Any, exact: Any, judge: Callable[[Any], Closeness]) -> Iterator[Any]:
    """``quantized`` with ever more parts of ``exact``, up to half of them.

    Both are ``openvino.Model``, the first made from the second by nncf; neither is changed.
    """
    parts = split(exact, _PARTS)
    began = time.monotonic()
    gains: list[tuple[float, int]] = []
    for number, part in enumerate(parts):
        if time.monotonic() - began > _SECONDS:
            say(f"after {_SECONDS:.0f} s {len(parts) - number} of {len(parts)} parts stay unseen")
            break
        gains.append((judge(restored(quantized, exact, part)).merit, number))
    order = [number for _, number in sorted(gains, key=lambda one: (-one[0], one[1]))]
    for count in range(1, min(len(order), max(len(parts) // 2, 1)) + 1):
        names = [name for number in order[:count] for name in parts[number]]
        say(f"{count} of {len(parts)} parts in floating point")
        yield restored(quantized, exact, names)


def split(model: Any, count: int) -> list[list[str]]:
    """The names of the operations, in the order of computing, in ``count`` parts with equally many
    convolutions; what stands behind one belongs to its part."""
    layers: list[list[str]] = []
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in _COMPUTING or not layers:
            layers.append([])
        layers[-1].append(operation.get_friendly_name())
    count = min(count, len(layers))
    limits = [len(layers) * number // count for number in range(count + 1)]
    return [
        [name for layer in layers[low:high] for name in layer]
        for low, high in zip(limits, limits[1:])
    ]


def restored(quantized: Any, exact: Any, names: Sequence[str]) -> Any:
    """A copy of ``quantized`` in which the operations ``names`` have the weights and biases of
    ``exact`` and take their input without rounding."""
    model = quantized.clone()
    originals = {operation.get_friendly_name(): operation for operation in exact.get_ops()}
    wanted = set(names)
    for operation in model.get_ops():
        name = operation.get_friendly_name()
        if name not in wanted or name not in originals:
            continue
        _restore(operation, originals[name])
        for user in operation.output(0).get_target_inputs():
            # nncf corrects biases by what rounding does to the layer before.
            addition = user.get_node()
            if addition.get_type_name() == "Add" and addition.get_friendly_name() in originals:
                _restore(addition, originals[addition.get_friendly_name()])
    model.validate_nodes_and_infer_types()
    return model


def _restore(operation: Any, original: Any) -> None:
    from openvino import op

    for index, given in enumerate(operation.inputs()):
        before = original.input_value(index).get_node()
        now = given.get_source_output().get_node()
        if before.get_type_name() == "Constant":
            given.replace_source_output(op.Constant(before.data).output(0))
        elif now.get_type_name() == "FakeQuantize":
            given.replace_source_output(now.input_value(0))
