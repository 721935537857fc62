"""Renders the scenes of the synthetic data set: each pixel shows the front-most part whose signed level is negative."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ._scenes import BACK_TO_FRONT, Bytes, Reals, Scenes, Thing
from ._shapes import Floats, Shape

SUPERSAMPLING = 2  # along each side
CHUNK_SAMPLES = 1 << 16  # about what a core's cache holds


@dataclass(frozen=True)
class Rendered:
    """Images, masks and depth of some of the scenes."""

    where: slice  # which scenes
    images: Bytes  # (n, 3, S, S)
    masks: Bytes  # (n, S, S), numbers of things, 0 is the background
    depth: Floats  # (n, S, S), metres


def render_scenes(group: Scenes, image_size: int) -> Iterator[Rendered]:
    """Renders scenes in chunks that fit into a processor core's cache."""
    things = [group.things[k] for k in BACK_TO_FRONT]
    shapes = [shape for thing in things for shape in thing.shapes]
    views = np.concatenate([affine_maps(thing) for thing in things], 1).astype(np.float32)  # (n, layers, 6)
    forms = np.concatenate([thing.places[:, :, 5] for thing in things], 1).astype(np.float32)
    # Layer 0 is the background, which is added later.
    colours = np.concatenate([thing.colours for thing in things], 1).astype(np.float32)
    colours = np.pad(colours, ((0, 0), (1, 0), (0, 0)))
    numbers = np.array([0] + [thing.number for thing in things for _ in thing.shapes], np.uint8)
    # Each part is slightly nearer than the one before it.
    depths = [thing.distance[:, None] - 0.02 * np.arange(len(thing.shapes)) for thing in things]
    depth = np.pad(np.concatenate(depths, 1).astype(np.float32), ((0, 0), (1, 0)))

    fine, coarse = cell_centres(image_size * SUPERSAMPLING), cell_centres(image_size)
    step = max(1, CHUNK_SAMPLES // len(fine) ** 2)
    for start in range(0, len(group), step):
        where = slice(start, start + step)
        layer = front_layers(shapes, views[where], forms[where], fine)  # (m, 2S, 2S)
        flat = layer + (np.arange(len(layer)) * (len(shapes) + 1))[:, None, None]
        palette = colours[where].reshape(-1, 3)
        back, shade, plane = background_and_light(group, where, coarse)
        front, empty = np.zeros_like(back), np.zeros_like(shade)
        for i, j in np.ndindex(SUPERSAMPLING, SUPERSAMPLING):
            front += palette[flat[:, i::SUPERSAMPLING, j::SUPERSAMPLING]]
            empty += layer[:, i::SUPERSAMPLING, j::SUPERSAMPLING] == 0
        # Background and light change slowly, so they are computed once per pixel.
        pixels = (front + empty[..., None] * back) * (shade * np.float32(255 / SUPERSAMPLING**2))[..., None]
        images = np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
        # One sample per pixel: averaged depths would be wrong at edges.
        visible, index = layer[:, ::SUPERSAMPLING, ::SUPERSAMPLING], flat[:, ::SUPERSAMPLING, ::SUPERSAMPLING]
        metres = np.where(visible == 0, plane, depth[where].reshape(-1)[index])
        yield Rendered(where, images, numbers[visible], metres)


def cell_centres(count: int) -> Floats:
    """The centres of equal cells that divide the range from -1 to 1."""
    return ((np.arange(count) + 0.5) * (2 / count) - 1).astype(np.float32)


def affine_maps(thing: Thing) -> Reals:
    """(n, parts, 6): a, b, c, d, e, f that map x, y of the image to u = ax + by + c, v = dx + ey + f of a part."""
    cos, sin = np.cos(thing.turn) / thing.size, np.sin(thing.turn) / thing.size
    rows = np.stack([thing.mirror * cos, thing.mirror * sin, -sin, cos], 1).reshape(-1, 1, 2, 2)
    place = thing.places
    turn_cos, turn_sin = np.cos(place[:, :, 4]), np.sin(place[:, :, 4])
    turns = np.stack([turn_cos, turn_sin, -turn_sin, turn_cos], 2).reshape(*turn_cos.shape, 2, 2)
    linear = turns @ rows / place[:, :, 2:4, None]
    centre = np.stack([thing.x, thing.y], 1)[:, None, :, None]
    shift = -(linear @ centre) - turns @ place[:, :, :2, None] / place[:, :, 2:4, None]
    return np.concatenate([linear, shift], 3).reshape(*turn_cos.shape, 6)


def front_layers(shapes: list[Shape], views: Floats, forms: Floats, fine: Floats) -> Bytes:
    """The index of the front-most layer at each sample (n, P, P); 0 is the background."""
    front = np.zeros((len(views), len(fine), len(fine)), np.uint8)
    across, down = fine[None, :], -fine[None, :]  # rows run downwards, y upwards
    for k, shape in enumerate(shapes):
        a, b, c, d, e, f = (views[:, k, i, None] for i in range(6))
        u = (a * across)[:, None, :] + (b * down + c)[:, :, None]
        v = (d * across)[:, None, :] + (e * down + f)[:, :, None]
        front[shape(u, v, forms[:, k, None, None]) < 0] = k + 1
    return front


def background_and_light(group: Scenes, where: slice, coarse: Floats) -> tuple[Floats, Floats, Floats]:
    """Background colours (n, S, S, 3), factors of brightness (n, S, S) and the background's distance (n, S, S)."""

    def along(angles: Reals) -> Floats:
        """The coordinate of each pixel along directions (n,) -> (n, S, S)."""
        cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
        coordinate: Floats = (cos * coarse)[:, None, :] - (sin * coarse)[:, :, None]
        return coordinate

    def per_scene(values: Reals) -> Floats:
        """(n,) -> (n, 1, 1)."""
        return values.astype(np.float32)[:, None, None]

    ramp, texture = group.ramp[where], group.texture[where]
    light, plane = group.light[where], group.plane[where]
    blend = np.clip((along(ramp[:, 0]) + per_scene(ramp[:, 1])) * per_scene(ramp[:, 2]) * 0.5 + 0.5, 0, 1)[..., None]
    near, far = (group.backdrop[where, i].astype(np.float32)[:, None, None, :] for i in (0, 1))
    shade = 1 + along(light[:, 0]) * per_scene(light[:, 1])
    for wave in (texture[:, 0], texture[:, 1]):
        ripples = np.sin(along(wave[:, 0]) * per_scene(wave[:, 1]) + per_scene(wave[:, 2]))
        shade += ripples * per_scene(wave[:, 3])
    distance = per_scene(plane[:, 0]) + along(plane[:, 1]) * per_scene(plane[:, 2])
    return near + (far - near) * blend, shade, distance
