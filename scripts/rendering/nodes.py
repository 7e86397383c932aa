"""Shader graphs written as expressions."""

from __future__ import annotations

from typing import Any

import bpy


class Graph:
    """A node tree to which nodes are added with their inputs in one call."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        tree.nodes.clear()

    def node(self, kind: str, inputs: dict[Any, Any] | None = None, **properties: Any) -> Any:
        """A node; ``inputs`` maps names or numbers to constants or to other nodes' outputs."""
        node = self.tree.nodes.new(kind)
        for key, value in properties.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            self.connect(node.inputs[key], value)
        return node

    def connect(self, socket: Any, value: Any) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            if socket.type == "RGBA" and len(value) == 3:
                value = (*value, 1.0)
            socket.default_value = value

    def math(self, operation: str, *values: Any) -> Any:
        return self.node("ShaderNodeMath", dict(enumerate(values)), operation=operation).outputs[0]

    def mix(self, factor: Any, first: Any, second: Any, blend: str = "MIX") -> Any:
        """Two colours mixed: ``first`` where ``factor`` is 0."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend)
        for index, value in ((0, factor), (6, first), (7, second)):
            self.connect(node.inputs[index], value)
        return node.outputs[2]

    def place(self, scale: Any = (1, 1, 1), turn: float = 0.0, shift: Any = (0, 0, 0)) -> Any:
        """Object coordinates in centimetres, moved, turned about z and scaled."""
        where = self.node("ShaderNodeTexCoord").outputs["Object"]
        inputs = {"Vector": where, "Location": shift, "Rotation": (0, 0, turn), "Scale": scale}
        return self.node("ShaderNodeMapping", inputs).outputs[0]

    def noise(self, where: Any, scale: float, detail: float = 4.0, rough: float = 0.55) -> Any:
        inputs = {"Vector": where, "Scale": scale, "Detail": detail, "Roughness": rough}
        return self.node("ShaderNodeTexNoise", inputs).outputs[0]

    def ramp(
        self, value: Any, low: float, high: float, start: float = 0.0, end: float = 1.0
    ) -> Any:
        """``value`` mapped from low..high to start..end, clamped."""
        inputs = {0: value, 1: low, 2: high, 3: start, 4: end}
        return self.node("ShaderNodeMapRange", inputs).outputs[0]

    def bump(self, height: Any, distance: float, strength: float = 1.0) -> Any:
        """A normal bent by a height map; ``distance`` is the height of 1 in centimetres."""
        inputs = {"Height": height, "Distance": distance, "Strength": strength}
        return self.node("ShaderNodeBump", inputs).outputs[0]

    def surface(self, **inputs: Any) -> None:
        """End the graph in a principled surface; names with underscores for blanks."""
        named = {key.replace("_", " "): value for key, value in inputs.items()}
        shader = self.node("ShaderNodeBsdfPrincipled", named)
        self.node("ShaderNodeOutputMaterial", {"Surface": shader.outputs[0]})


def material(name: str) -> tuple[bpy.types.Material, Graph]:
    """A new material and its empty graph."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    return made, Graph(made.node_tree)
