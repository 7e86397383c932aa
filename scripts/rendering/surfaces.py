"""What tables and hardware are made of. Patterns are in centimetres."""

from __future__ import annotations

import bpy
import numpy as np

from rendering.nodes import Graph, material

# Linear base colour, roughness range, and how much the colour varies.
_METALS = {
    "zinc": ((0.60, 0.62, 0.65), (0.22, 0.42), 0.10),
    "stainless": ((0.56, 0.54, 0.52), (0.16, 0.32), 0.05),
    "brass": ((0.64, 0.46, 0.20), (0.18, 0.38), 0.10),
    "yellow": ((0.60, 0.47, 0.24), (0.22, 0.38), 0.12),
    "black": ((0.10, 0.097, 0.094), (0.30, 0.48), 0.2),
    "rust": ((0.36, 0.31, 0.27), (0.35, 0.55), 0.20),
}


def _shifted(graph: Graph, rng: np.random.Generator, scale=(1, 1, 1), turn: float = 0.0):
    return graph.place(scale=scale, turn=turn, shift=tuple(rng.uniform(-50, 50, 3)))


def hardware(finish: str, seed: int) -> bpy.types.Material:
    """A metal finish with smudges, fine scratches, and rust where it has some."""
    rng = np.random.default_rng(seed)
    base, (smooth, rough), variation = _METALS[finish]
    made, graph = material(finish)
    where = _shifted(graph, rng)
    base = np.array(base) * rng.uniform(0.9, 1.08)
    cloudy = graph.noise(where, 1.6, 5.0, 0.6)
    fine = graph.noise(where, 14.0, 4.0, 0.65)
    darker = tuple(np.clip(base * (1 - 2.2 * variation), 0, 1))
    lighter = tuple(np.clip(base * (1 + variation), 0, 1))
    colour = graph.mix(graph.ramp(cloudy, 0.35, 0.65), darker, lighter)
    if finish == "yellow":  # chromate shimmers from green to pink
        shimmer = graph.ramp(graph.noise(_shifted(graph, rng), 2.5, 2.0), 0.4, 0.62)
        colour = graph.mix(graph.math("MULTIPLY", shimmer, 0.6), colour, (0.50, 0.40, 0.33))
    roughness = graph.ramp(fine, 0.3, 0.7, smooth, rough)
    scratches = graph.noise(_shifted(graph, rng, (1.5, 22, 22), rng.uniform(0, 3)), 3.0, 3.0, 0.7)
    height = graph.math("ADD", graph.math("MULTIPLY", fine, 0.5), scratches)
    metallic = 1.0
    amount = {"rust": rng.uniform(0.46, 0.54), "zinc": 0.70, "black": 0.68}.get(finish, 0.0)
    if amount and (finish == "rust" or rng.uniform() < 0.35):
        spots = graph.noise(_shifted(graph, rng), 2.2, 9.0, 0.68)
        rusty = graph.ramp(spots, amount - 0.05, amount + 0.05)
        brown = graph.mix(graph.ramp(fine, 0.35, 0.65), (0.09, 0.028, 0.010), (0.30, 0.11, 0.035))
        colour = graph.mix(rusty, colour, brown)
        roughness = graph.math("ADD", roughness, graph.math("MULTIPLY", rusty, 0.4))
        metallic = graph.math("SUBTRACT", 1.0, graph.math("MULTIPLY", rusty, 0.9))
        height = graph.math("ADD", height, graph.math("MULTIPLY", rusty, graph.noise(where, 30.0)))
    graph.surface(
        Base_Color=colour, Metallic=metallic, Roughness=roughness, Normal=graph.bump(height, 0.006)
    )
    return made


def _wood_grain(graph: Graph, rng: np.random.Generator, along, seam=None):
    """Colour, height and streaks of planed wood whose grain runs along x."""
    pale, dark = _wood_colours(rng)
    warped = graph.noise(along, 0.35, 2.0)
    # Contour lines of a stretched noise look like the figure of sawn boards.
    figure = graph.noise(along, 0.22, 2.0, 0.4)
    rings = graph.ramp(graph.math("SINE", graph.math("MULTIPLY", figure, 95.0)), -1, 1)
    pores = graph.noise(along, 9.0, 6.0, 0.7)
    streaks = graph.math(
        "ADD", graph.math("MULTIPLY", rings, 0.22), graph.math("MULTIPLY", pores, 0.75)
    )
    streaks = graph.math("ADD", streaks, graph.math("MULTIPLY", warped, 0.3))
    if seam is not None:
        streaks = graph.math("ADD", streaks, seam)
    colour = graph.mix(graph.ramp(streaks, 0.25, 1.1), pale, dark)
    return colour, streaks, pores


def _wood_colours(rng: np.random.Generator):
    woods = [
        ((0.62, 0.42, 0.23), (0.36, 0.20, 0.085)),
        ((0.40, 0.22, 0.10), (0.16, 0.075, 0.032)),
        ((0.19, 0.095, 0.05), (0.065, 0.032, 0.018)),
        ((0.66, 0.53, 0.36), (0.44, 0.32, 0.19)),
    ]
    pale, dark = woods[int(rng.integers(len(woods)))]
    return tuple(np.array(pale) * rng.uniform(0.9, 1.1)), tuple(
        np.array(dark) * rng.uniform(0.9, 1.1)
    )


def _wood(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    along = _shifted(graph, rng, (0.11, 1.0, 1.0), turn)
    colour, streaks, pores = _wood_grain(graph, rng, along)
    gloss = rng.uniform(0.28, 0.6)
    graph.surface(
        Base_Color=colour, Roughness=graph.ramp(pores, 0.3, 0.8, gloss, gloss + 0.22),
        Normal=graph.bump(streaks, 0.02),
    )  # fmt: skip


def _planks(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    flat = _shifted(graph, rng, (1, 1, 1), turn)
    bricks = graph.node(
        "ShaderNodeTexBrick",
        {"Vector": flat, "Color1": (0.2, 0.2, 0.2), "Color2": (0.95, 0.95, 0.95),
         "Mortar": (0, 0, 0), "Scale": 1.0, "Mortar Size": 0.05, "Mortar Smooth": 0.4,
         "Brick Width": 58.0, "Row Height": float(rng.uniform(5.5, 9.0))},
    )  # fmt: skip
    along = _shifted(graph, rng, (0.09, 1.0, 1.0), turn)
    # Each board has its own grain: shift the pattern by the board's number.
    offset = graph.node(
        "ShaderNodeVectorMath", {0: bricks.outputs[0], 1: (7, 90, 31)}, operation="MULTIPLY"
    )
    along = graph.node("ShaderNodeVectorMath", {0: along, 1: offset.outputs[0]}).outputs[0]
    board = graph.math(
        "MULTIPLY", graph.node("ShaderNodeRGBToBW", {0: bricks.outputs[0]}).outputs[0], 0.35
    )
    colour, streaks, pores = _wood_grain(graph, rng, along, board)
    colour = graph.mix(bricks.outputs[1], colour, (0.015, 0.01, 0.008))
    worn = graph.ramp(graph.noise(flat, 0.3, 6.0, 0.65), 0.5, 0.72, 0.0, 0.4)
    colour = graph.mix(worn, colour, (0.32, 0.29, 0.26))
    height = graph.math("SUBTRACT", streaks, graph.math("MULTIPLY", bricks.outputs[1], 3.0))
    graph.surface(
        Base_Color=colour, Roughness=graph.ramp(pores, 0.3, 0.8, 0.5, 0.8),
        Normal=graph.bump(height, 0.045),
    )  # fmt: skip


def _metal(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    paints = [(0.045, 0.11, 0.20), (0.06, 0.15, 0.09), (0.32, 0.33, 0.33), (0.35, 0.045, 0.03),
              (0.50, 0.49, 0.44), (0.10, 0.105, 0.11)]  # fmt: skip
    paint = paints[int(rng.integers(len(paints)))]
    where = _shifted(graph, rng, turn=turn)
    peel = graph.noise(where, 5.0, 2.0, 0.5)
    dirt = graph.ramp(graph.noise(where, 0.22, 6.0, 0.66), 0.46, 0.68)
    colour = graph.mix(
        graph.math("MULTIPLY", dirt, 0.45), paint, tuple(np.array(paint) * 0.35 + 0.02)
    )
    thin = graph.noise(
        _shifted(graph, rng, (0.25, 9, 1), turn + rng.uniform(-0.4, 0.4)), 1.2, 6.0, 0.75
    )
    other = graph.noise(
        _shifted(graph, rng, (0.4, 11, 1), turn + rng.uniform(0.9, 1.9)), 0.9, 6.0, 0.75
    )
    scratch = graph.math("MAXIMUM", graph.ramp(thin, 0.64, 0.68), graph.ramp(other, 0.65, 0.69))
    chips = graph.ramp(graph.noise(where, 0.9, 7.0, 0.72), 0.665, 0.68)
    bare = graph.math("MAXIMUM", graph.math("MULTIPLY", scratch, 0.75), chips)
    colour = graph.mix(bare, colour, (0.38, 0.36, 0.34))
    height = graph.math("SUBTRACT", graph.math("MULTIPLY", peel, 0.6), bare)
    graph.surface(
        Base_Color=colour, Metallic=graph.math("MULTIPLY", bare, 0.8),
        Roughness=graph.ramp(dirt, 0, 1, rng.uniform(0.28, 0.42), 0.62),
        Normal=graph.bump(height, 0.012),
    )  # fmt: skip


def _cardboard(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    where = _shifted(graph, rng, turn=turn)
    fibres = graph.noise(_shifted(graph, rng, (1, 4, 1), turn + 1.2), 7.0, 6.0, 0.7)
    blotch = graph.noise(where, 0.25, 4.0)
    base = np.array([0.42, 0.275, 0.155]) * rng.uniform(0.85, 1.1)
    colour = graph.mix(graph.ramp(fibres, 0.3, 0.7), tuple(base * 0.86), tuple(base * 1.1))
    colour = graph.mix(graph.ramp(blotch, 0.4, 0.75, 0.0, 0.4), colour, tuple(base * 0.7))
    specks = graph.ramp(graph.noise(where, 11.0, 2.0), 0.67, 0.71, 0.0, 0.6)
    colour = graph.mix(specks, colour, (0.10, 0.06, 0.035))
    flutes = graph.node(
        "ShaderNodeTexWave", {"Vector": where, "Scale": 0.42, "Distortion": 0.4}
    ).outputs[1]
    height = graph.math(
        "ADD", graph.math("MULTIPLY", flutes, 0.8), graph.math("MULTIPLY", fibres, 0.45)
    )
    graph.surface(Base_Color=colour, Roughness=0.88, Normal=graph.bump(height, 0.022))


def _cloth(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    dyes = [(0.50, 0.47, 0.40), (0.06, 0.085, 0.15), (0.16, 0.17, 0.17), (0.28, 0.06, 0.05),
            (0.22, 0.25, 0.17)]  # fmt: skip
    dye = np.array(dyes[int(rng.integers(len(dyes)))])
    where = _shifted(graph, rng, turn=turn)
    wobble = graph.noise(where, 1.1, 3.0)
    parts = graph.node("ShaderNodeSeparateXYZ", {0: where})
    threads = float(rng.uniform(38, 62))
    waves = []
    for axis in (0, 1):
        pushed = graph.math("ADD", parts.outputs[axis], graph.math("MULTIPLY", wobble, 0.25))
        waves.append(graph.math("SINE", graph.math("MULTIPLY", pushed, threads)))
    weave = graph.ramp(graph.math("MULTIPLY", waves[0], waves[1]), -1, 1)
    yarn = graph.noise(where, 6.0, 4.0, 0.7)
    shade = graph.math(
        "ADD", graph.math("MULTIPLY", weave, 0.55), graph.math("MULTIPLY", yarn, 0.6)
    )
    colour = graph.mix(graph.ramp(shade, 0.2, 0.95), tuple(dye * 0.5), tuple(dye * 1.2))
    folds = graph.noise(where, 0.16, 3.0, 0.45)
    near = graph.bump(weave, 0.03)
    wrinkled = graph.node(
        "ShaderNodeBump", {"Height": folds, "Distance": 1.6, "Normal": near}
    ).outputs[0]
    graph.surface(Base_Color=colour, Roughness=0.95, Sheen_Weight=0.25, Normal=wrinkled)


def _stone(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    where = _shifted(graph, rng, turn=turn)
    if rng.uniform() < 0.5:  # speckled granite, polished
        tones = [(0.36, 0.35, 0.34), (0.13, 0.125, 0.12), (0.42, 0.33, 0.28)]
        tone = np.array(tones[int(rng.integers(len(tones)))])
        grains = graph.node("ShaderNodeTexVoronoi", {"Vector": where, "Scale": 5.5}).outputs[1]
        value = graph.node("ShaderNodeRGBToBW", {0: grains}).outputs[0]
        small = graph.noise(where, 6.0, 8.0, 0.75)
        colour = graph.mix(graph.ramp(value, 0.2, 0.8), tuple(tone * 0.75), tuple(tone * 1.35))
        colour = graph.mix(graph.ramp(small, 0.57, 0.60), colour, (0.035, 0.034, 0.035))
        colour = graph.mix(graph.ramp(small, 0.40, 0.37), colour, (0.58, 0.55, 0.52))
        graph.surface(Base_Color=colour, Roughness=float(rng.uniform(0.12, 0.3)))
        return
    tone = np.array([0.34, 0.335, 0.32]) * rng.uniform(0.7, 1.2)  # cast concrete
    clouds = graph.noise(where, 0.28, 6.0, 0.66)
    grit = graph.noise(where, 12.0, 6.0, 0.7)
    colour = graph.mix(graph.ramp(clouds, 0.3, 0.7), tuple(tone * 0.65), tuple(tone * 1.15))
    colour = graph.mix(graph.ramp(grit, 0.35, 0.7, 0.35, 0.0), colour, (0.11, 0.105, 0.10))
    pits = graph.ramp(
        graph.node("ShaderNodeTexVoronoi", {"Vector": where, "Scale": 1.3}).outputs[0], 0.1, 0.05
    )
    colour = graph.mix(graph.math("MULTIPLY", pits, 0.6), colour, (0.06, 0.056, 0.052))
    height = graph.math("SUBTRACT", graph.math("MULTIPLY", grit, 0.4), pits)
    graph.surface(Base_Color=colour, Roughness=0.85, Normal=graph.bump(height, 0.05))


def _mat(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    """A cutting mat with a centimetre grid."""
    tone = [(0.020, 0.10, 0.075), (0.025, 0.055, 0.12), (0.06, 0.062, 0.066)][int(rng.integers(3))]
    where = _shifted(graph, rng, turn=turn)
    parts = graph.node("ShaderNodeSeparateXYZ", {0: where})

    def lines(step: float, width: float):
        both = []
        for axis in (0, 1):
            saw = graph.math("PINGPONG", parts.outputs[axis], step / 2)
            both.append(graph.ramp(saw, width, width * 0.6))
        return graph.math("MAXIMUM", both[0], both[1])

    grid = graph.math("MAXIMUM", graph.math("MULTIPLY", lines(1.0, 0.022), 0.45), lines(5.0, 0.045))
    worn = graph.ramp(graph.noise(where, 0.5, 6.0, 0.65), 0.3, 0.6, 0.35, 1.0)
    ink = tuple(np.array(tone) * 0.5 + np.array([0.30, 0.33, 0.25]))
    colour = graph.mix(graph.math("MULTIPLY", grid, graph.math("MULTIPLY", worn, 0.8)), tone, ink)
    cuts = graph.noise(_shifted(graph, rng, (0.2, 10, 1), rng.uniform(0, 3)), 1.0, 5.0, 0.75)
    cut = graph.ramp(cuts, 0.66, 0.69)
    dust = graph.ramp(graph.noise(where, 0.35, 6.0, 0.7), 0.45, 0.75, 0.0, 0.28)
    colour = graph.mix(
        graph.math("MAXIMUM", dust, graph.math("MULTIPLY", cut, 0.4)), colour, (0.25, 0.26, 0.25)
    )
    grain = graph.noise(where, 26.0, 2.0)
    height = graph.math("SUBTRACT", graph.math("MULTIPLY", grain, 0.35), cut)
    graph.surface(Base_Color=colour, Roughness=0.58, Normal=graph.bump(height, 0.015))


def _paper(graph: Graph, rng: np.random.Generator, turn: float) -> None:
    """A laminate or paper-covered desk: pale, nearly plain, with stains."""
    tone = np.array(
        [[0.62, 0.61, 0.58], [0.55, 0.50, 0.42], [0.45, 0.47, 0.49]][int(rng.integers(3))]
    )
    where = _shifted(graph, rng, turn=turn)
    stain = graph.ramp(graph.noise(where, 0.2, 6.0, 0.65), 0.48, 0.7, 0.0, 0.5)
    colour = graph.mix(stain, tuple(tone), tuple(tone * np.array([0.72, 0.66, 0.58])))
    specks = graph.ramp(graph.noise(where, 4.5, 4.0, 0.7), 0.69, 0.71, 0.0, 0.55)
    colour = graph.mix(specks, colour, (0.14, 0.12, 0.10))
    fibres = graph.noise(where, 16.0, 5.0, 0.7)
    graph.surface(
        Base_Color=colour, Roughness=float(rng.uniform(0.35, 0.8)), Normal=graph.bump(fibres, 0.012)
    )


_TABLES = {
    "wood": _wood, "planks": _planks, "metal": _metal, "cardboard": _cardboard, "cloth": _cloth,
    "stone": _stone, "mat": _mat, "paper": _paper,
}  # fmt: skip


def table(kind: str, seed: int) -> bpy.types.Material:
    """The surface of a table, its pattern turned and shifted by the seed."""
    rng = np.random.default_rng(seed)
    made, graph = material(kind)
    _TABLES[kind](graph, rng, float(rng.uniform(0, 2 * np.pi)))
    return made


def plain(colour, roughness: float, metallic: float = 0.0, seed: int = 0) -> bpy.types.Material:
    """An even surface with handling marks, for clutter."""
    made, graph = material("plain")
    where = _shifted(graph, np.random.default_rng(seed))
    marks = graph.ramp(graph.noise(where, 1.2, 7.0, 0.65), 0.4, 0.75, 0.0, 0.35)
    graph.surface(
        Base_Color=graph.mix(marks, colour, tuple(np.asarray(colour) * 0.6)), Metallic=metallic,
        Roughness=graph.ramp(marks, 0, 0.35, roughness, min(1.0, roughness + 0.2)),
        Normal=graph.bump(graph.noise(where, 9.0), 0.008),
    )  # fmt: skip
    return made
