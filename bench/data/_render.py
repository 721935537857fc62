"""Renders the scenes of the synthetic data set, all parts by their signed levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ._scenes import PAINTED, Bytes, Reals, Scenes, Thing
from ._shapes import Floats, Shape

SUPERSAMPLING = 2  # along each side
CHUNK_SAMPLES = 1 << 16  # about what a core's cache holds


@dataclass(frozen=True)
class Rendered:
    """Some of the scenes, as pictures."""

    where: slice  # which scenes these are
    images: Bytes  # (n, 3, S, S)
    masks: Bytes  # (n, S, S), numbers of things, 0 is background
    depth: Floats  # (n, S, S), metres


def rendered(group: Scenes, image_size: int) -> Iterator[Rendered]:
    """Renders scenes a cacheful at a time."""
    things = [group.things[k] for k in PAINTED]
    shapes = [shape for thing in things for shape in thing.shapes]
    views = np.concatenate([affine(thing) for thing in things], 1).astype(np.float32)  # (n, layers, 6)
    forms = np.concatenate([thing.places[:, :, 5] for thing in things], 1).astype(np.float32)
    # Layer 0 is the background, which is filled in later.
    colours = np.concatenate([thing.colours for thing in things], 1).astype(np.float32)
    colours = np.pad(colours, ((0, 0), (1, 0), (0, 0)))
    numbers = np.array([0] + [thing.number for thing in things for _ in thing.shapes], np.uint8)
    # A part stands a little before the part that it is painted on.
    depths = [thing.distance[:, None] - 0.02 * np.arange(len(thing.shapes)) for thing in things]
    depth = np.pad(np.concatenate(depths, 1).astype(np.float32), ((0, 0), (1, 0)))

    fine, coarse = axis(image_size * SUPERSAMPLING), axis(image_size)
    step = max(1, CHUNK_SAMPLES // len(fine) ** 2)
    for start in range(0, len(group), step):
        where = slice(start, start + step)
        layer = layers(shapes, views[where], forms[where], fine)  # (m, 2S, 2S)
        flat = layer + (np.arange(len(layer)) * (len(shapes) + 1))[:, None, None]
        palette = colours[where].reshape(-1, 3)
        back, shade, plane = surroundings(group, where, coarse)
        front, empty = np.zeros_like(back), np.zeros_like(shade)
        for i, j in np.ndindex(SUPERSAMPLING, SUPERSAMPLING):
            front += palette[flat[:, i::SUPERSAMPLING, j::SUPERSAMPLING]]
            empty += layer[:, i::SUPERSAMPLING, j::SUPERSAMPLING] == 0
        # Background and light change slowly, so they are computed once a pixel.
        pixels = (front + empty[..., None] * back) * (shade * np.float32(255 / SUPERSAMPLING**2))[..., None]
        images = np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
        # One sample a pixel: a mean would put an edge where nothing is.
        seen, which = layer[:, ::SUPERSAMPLING, ::SUPERSAMPLING], flat[:, ::SUPERSAMPLING, ::SUPERSAMPLING]
        metres = np.where(seen == 0, plane, depth[where].reshape(-1)[which])
        yield Rendered(where, images, numbers[seen], metres)


def axis(samples: int) -> Floats:
    """Centres of equal cells from -1 to 1."""
    return ((np.arange(samples) + 0.5) * (2 / samples) - 1).astype(np.float32)


def affine(thing: Thing) -> Reals:
    """(n, parts, 6): a, b, c, d, e, f that take x, y of the picture to u = ax + by + c, v = dx + ey + f of a part."""
    cos, sin = np.cos(thing.turn) / thing.size, np.sin(thing.turn) / thing.size
    rows = np.stack([thing.mirror * cos, thing.mirror * sin, -sin, cos], 1).reshape(-1, 1, 2, 2)
    place = thing.places
    turn_cos, turn_sin = np.cos(place[:, :, 4]), np.sin(place[:, :, 4])
    turns = np.stack([turn_cos, turn_sin, -turn_sin, turn_cos], 2).reshape(*turn_cos.shape, 2, 2)
    linear = turns @ rows / place[:, :, 2:4, None]
    centre = np.stack([thing.x, thing.y], 1)[:, None, :, None]
    shift = -(linear @ centre) - turns @ place[:, :, :2, None] / place[:, :, 2:4, None]
    return np.concatenate([linear, shift], 3).reshape(*turn_cos.shape, 6)


def layers(shapes: list[Shape], views: Floats, forms: Floats, fine: Floats) -> Bytes:
    """Which layer is in front at each sample (n, P, P); 0 where there is none."""
    front = np.zeros((len(views), len(fine), len(fine)), np.uint8)
    across, down = fine[None, :], -fine[None, :]  # rows run downwards, y upwards
    for k, shape in enumerate(shapes):
        a, b, c, d, e, f = (views[:, k, i, None] for i in range(6))
        u = (a * across)[:, None, :] + (b * down + c)[:, :, None]
        v = (d * across)[:, None, :] + (e * down + f)[:, :, None]
        front[shape(u, v, forms[:, k, None, None]) < 0] = k + 1
    return front


def surroundings(group: Scenes, where: slice, coarse: Floats) -> tuple[Floats, Floats, Floats]:
    """Background colours (n, S, S, 3), light (n, S, S) to multiply by, and the background's distance (n, S, S)."""

    def along(angles: Reals) -> Floats:
        """How far each pixel lies in these directions (n,) -> (n, S, S)."""
        cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
        way: Floats = (cos * coarse)[:, None, :] - (sin * coarse)[:, :, None]
        return way

    def column(values: Reals) -> Floats:
        return values.astype(np.float32)[:, None, None]

    ramp, texture = group.ramp[where], group.texture[where]
    light, plane = group.light[where], group.plane[where]
    blend = np.clip((along(ramp[:, 0]) + column(ramp[:, 1])) * column(ramp[:, 2]) * 0.5 + 0.5, 0, 1)[..., None]
    near, far = (group.backdrop[where, i].astype(np.float32)[:, None, None, :] for i in (0, 1))
    shade = 1 + along(light[:, 0]) * column(light[:, 1])
    for wave in (texture[:, 0], texture[:, 1]):
        ripples = np.sin(along(wave[:, 0]) * column(wave[:, 1]) + column(wave[:, 2]))
        shade += ripples * column(wave[:, 3])
    distance = column(plane[:, 0]) + along(plane[:, 1]) * column(plane[:, 2])
    return near + (far - near) * blend, shade, distance
