"""A planned photo as a Blender scene: light to linear pixels, and each object's visible pixels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image

from rendering import clutter, surfaces
from rendering.nodes import Graph, material
from rendering.phone import SENSOR, Camera
from rendering.plan import Photo
from rendering.rooms import paint

_TABLE_HALF = 400.0  # centimetres: beyond the far end of every view
_INDEX_STEP = 20  # grey levels between two objects of the index picture


def _world(photo: Photo) -> None:
    light = paint(photo.room)
    height, width = light.shape[:2]
    # Blender runs from the bottom row up and turns the other way round.
    pixels = np.ones((height, width, 4), dtype=np.float32)
    pixels[..., :3] = light[::-1, ::-1]
    image = bpy.data.images.new("room", width, height, float_buffer=True, is_data=True)
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    world = bpy.data.worlds.new("room")
    world.use_nodes = True
    graph = Graph(world.node_tree)
    texture = graph.node("ShaderNodeTexEnvironment", image=image)
    background = graph.node("ShaderNodeBackground", {0: texture.outputs[0]})
    graph.node("ShaderNodeOutputWorld", {0: background.outputs[0]})
    bpy.context.scene.world = world


def _camera(camera: Camera) -> None:
    data = bpy.data.cameras.new("phone")
    data.sensor_fit, data.sensor_width, data.lens = "AUTO", SENSOR, camera.focal_length
    data.clip_start, data.clip_end = 0.5, 4 * _TABLE_HALF
    data.dof.use_dof = True
    distance = float(np.linalg.norm(np.subtract(camera.position, camera.target)))
    data.dof.focus_distance = distance
    # Blender takes the lens in millimetres and the scene in metres.
    data.dof.aperture_fstop = camera.focal_length * 1e-3 / (2 * camera.aperture)
    made = bpy.data.objects.new("phone", data)
    matrix = np.eye(4)
    matrix[:3, :3] = camera.axes().T
    matrix[:3, 3] = camera.position
    made.matrix_world = Matrix(matrix.tolist())
    bpy.context.collection.objects.link(made)
    scene = bpy.context.scene
    scene.camera = made
    scene.render.resolution_x, scene.render.resolution_y = camera.width, camera.height
    scene.render.resolution_percentage = 100


def _crumbs(seed: int) -> None:
    """Dust and filings: no workbench is clean. Too small and flat to hide hardware."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(15, 120))
    centres = np.column_stack([rng.normal(0, 7, (count, 2)), np.zeros(count)])
    sizes = rng.lognormal(-3.6, 0.5, (count, 1, 1)).clip(0.01, 0.09)
    shape = np.array([[-1, -0.6, 0], [1, -0.4, 0], [0.1, 1, 0], [0, 0.1, 0.8]])
    stretched = shape * rng.uniform(0.4, 1.6, (count, 1, 3))
    angles = rng.uniform(0, 2 * np.pi, count)
    turned = stretched.copy()
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    turned[..., 0] = cos * stretched[..., 0] - sin * stretched[..., 1]
    turned[..., 1] = sin * stretched[..., 0] + cos * stretched[..., 1]
    vertices = (turned * sizes + centres[:, None]).reshape(-1, 3)
    faces = [
        tuple(4 * i + corner for corner in face)
        for i in range(count)
        for face in ((0, 1, 3), (1, 2, 3), (2, 0, 3))
    ]
    made = clutter.mesh_object("crumbs", vertices, faces)
    colours = ((0.10, 0.07, 0.05), (0.30, 0.28, 0.25), (0.03, 0.03, 0.03))
    made.data.materials.append(surfaces.plain(colours[int(rng.integers(3))], 0.7))


def build(photo: Photo) -> None:
    """Replace whatever is loaded by this photo's scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    half = _TABLE_HALF
    corners = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    table = clutter.mesh_object("table", corners, [(0, 1, 2, 3)])
    table.data.materials.append(surfaces.table(photo.table, photo.seed))
    _crumbs(photo.seed)
    for number, item in enumerate(photo.items, start=1):
        made = clutter.mesh_object(
            item.name, item.mesh.vertices, item.mesh.faces, smooth=np.radians(24)
        )
        made.data.materials.append(surfaces.hardware(item.finish, item.seed))
        made.matrix_world = Matrix(item.pose.tolist())
        made.pass_index = number
    for thing in photo.clutter:
        clutter.build(thing)
    _world(photo)
    _camera(photo.camera)


def _render(suffix: str) -> Path:
    path = Path(tempfile.mkdtemp()) / f"frame{suffix}"
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return path


def light(samples: int, seed: int, threads: int) -> np.ndarray:
    """The scene's linear light [H, W, 3], denoised."""
    scene = bpy.context.scene
    cycles = scene.cycles
    cycles.samples, cycles.seed, cycles.use_adaptive_sampling = samples, seed % 2**31, False
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 3
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 8.0
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"
    path = _render(".exr")
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.empty(width * height * 4, dtype=np.float32)
    image.pixels.foreach_get(pixels)
    path.unlink()
    path.parent.rmdir()
    return pixels.reshape(height, width, 4)[::-1, :, :3]


def _flat() -> bpy.types.Material:
    """A surface that shows nothing but its object's number."""
    made, graph = material("number")
    number = graph.node("ShaderNodeObjectInfo").outputs["Object Index"]
    strength = graph.math("MULTIPLY", number, _INDEX_STEP / 255)
    emission = graph.node("ShaderNodeEmission", {"Color": (1, 1, 1), "Strength": strength})
    graph.node("ShaderNodeOutputMaterial", {"Surface": emission.outputs[0]})
    return made


def _numbers() -> np.ndarray:
    path = _render(".png")
    with Image.open(path) as picture:
        values = np.asarray(picture.convert("L"))
    path.unlink()
    path.parent.rmdir()
    return np.rint(values / _INDEX_STEP).astype(np.int32)


def visible(photo: Photo) -> tuple[np.ndarray, list[int]]:
    """Which object each pixel [H, W] shows (0 none, else its place from 1), and their whole sizes.

    The whole size is the number of pixels in the frame that an object would fill if nothing hid
    it. One ray through each pixel's centre, no lens blur. Changes the scene: render light first
    or build anew.
    """
    scene = bpy.context.scene
    cycles = scene.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = 1, False, False
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
    cycles.max_bounces = 0
    scene.camera.data.dof.use_dof = False
    scene.view_settings.view_transform = "Raw"
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "BW"
    scene.render.image_settings.color_depth = "8"
    scene.render.dither_intensity = 0.0
    scene.world = None
    bpy.context.view_layer.material_override = _flat()
    together = _numbers()
    shapes = [o for o in scene.objects if o.type in ("MESH", "CURVE", "FONT")]
    alone = []
    for number in range(1, len(photo.items) + 1):
        for made in shapes:
            made.hide_render = made.pass_index != number
        alone.append(int((_numbers() == number).sum()))
    return together, alone
