"""The objects of the synthetic data set: ten classes, each composed of a few plain shapes.

An object is upright in a square from -1 to 1, with y upwards. All ten have a visible
top and bottom, and differ in the arrangement of their parts rather than in colour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = Callable[[Floats, Floats, Floats], Floats]

# A shape maps coordinates u, v (n, P, P), in which its half-width and half-height are 1, to a signed level that is
# negative inside. `form` (n, 1, 1) is one more number that some shapes need. Shapes may overwrite u and v.


def ellipse(u: Floats, v: Floats, form: Floats) -> Floats:
    """A circle, or an ellipse if width and height differ."""
    return _sum_of_squares(u, v) - np.float32(1)


def box(u: Floats, v: Floats, form: Floats) -> Floats:
    """A rectangle."""
    return np.maximum(np.abs(u, out=u), np.abs(v, out=v), out=u) - np.float32(1)


def rounded_box(u: Floats, v: Floats, form: Floats) -> Floats:
    """A rectangle with round corners (a superellipse of order 4)."""
    return _sum_of_squares(np.square(u, out=u), np.square(v, out=v)) - np.float32(1)


def trapezoid(u: Floats, v: Floats, form: Floats) -> Floats:
    """An upright trapezoid whose top is ``form`` times as wide as its base; 0 makes a triangle."""
    slope = (1 - form) * np.float32(0.5)
    side: Floats = np.abs(u, out=u) + slope * v - (1 - slope)
    return np.maximum(side, np.abs(v, out=v) - np.float32(1), out=side)


def dome(u: Floats, v: Floats, form: Floats) -> Floats:
    """The upper half of an ellipse."""
    return np.maximum(ellipse(u, v.copy(), form), -v, out=u)


def capsule(u: Floats, v: Floats, form: Floats) -> Floats:
    """An upright bar with round ends, ``form`` times as high as wide."""
    reach = np.abs(v, out=v) * form - (form - 1)
    return _sum_of_squares(u, np.maximum(reach, 0, out=reach)) - np.float32(1)


def _sum_of_squares(u: Floats, v: Floats) -> Floats:
    """u² + v², stored in u."""
    u *= u
    v *= v
    u += v
    return u


# Colour slots of a part.
MAIN, SECOND, DARK, LIGHT = range(4)


class Part(NamedTuple):
    """One shape of an object, before jitter."""

    shape: Shape
    x: float
    y: float
    half_width: float
    half_height: float
    colour: int = MAIN
    turn: float = 0.0  # degrees, counter-clockwise
    form: float = 0.0
    chance: float = 1.0  # probability that the part exists
    name: str = ""  # of a part that may be missing


class Kind(NamedTuple):
    """A class of objects: its parts from back to front, and the colours that are somewhat more likely."""

    parts: tuple[Part, ...]
    colours: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "house": Kind(
        (
            Part(box, 0.42, 0.60, 0.11, 0.28, DARK, chance=0.7, name="chimney"),
            Part(box, 0.00, -0.42, 0.64, 0.52),
            Part(trapezoid, 0.00, 0.42, 0.88, 0.40, SECOND),
            Part(box, -0.25, -0.62, 0.15, 0.30, DARK),
            Part(box, 0.26, -0.32, 0.16, 0.16, LIGHT),
        ),
        ("red", "white", "brown"),
    ),
    "tree": Kind(
        (
            Part(box, 0.00, -0.58, 0.13, 0.42, SECOND),
            Part(ellipse, -0.38, 0.05, 0.36, 0.34),
            Part(ellipse, 0.38, 0.05, 0.36, 0.34),
            Part(ellipse, 0.00, 0.42, 0.48, 0.50),
        ),
        ("green", "orange", "teal"),
    ),
    "car": Kind(
        (
            Part(trapezoid, -0.08, 0.26, 0.60, 0.30, form=0.6),
            Part(trapezoid, -0.08, 0.26, 0.42, 0.18, LIGHT, form=0.6),
            Part(rounded_box, 0.00, -0.18, 0.95, 0.30),
            Part(ellipse, -0.52, -0.46, 0.24, 0.24, DARK),
            Part(ellipse, 0.52, -0.46, 0.24, 0.24, DARK),
        ),
        ("red", "blue", "yellow"),
    ),
    "person": Kind(
        (
            Part(capsule, -0.15, -0.58, 0.12, 0.40, DARK, form=3.3),
            Part(capsule, 0.15, -0.58, 0.12, 0.40, DARK, form=3.3),
            Part(capsule, -0.40, 0.14, 0.10, 0.40, turn=-25, form=4.0),
            Part(capsule, 0.40, 0.14, 0.10, 0.40, turn=25, form=4.0),
            Part(rounded_box, 0.00, 0.10, 0.30, 0.42),
            Part(ellipse, 0.00, 0.70, 0.23, 0.25, SECOND),
        ),
        ("blue", "pink", "black"),
    ),
    "boat": Kind(
        (
            Part(box, -0.02, 0.15, 0.05, 0.75, DARK),
            Part(trapezoid, 0.32, 0.22, 0.32, 0.52, SECOND),
            Part(trapezoid, -0.30, 0.10, 0.24, 0.40, LIGHT, chance=0.7, name="second sail"),
            Part(trapezoid, 0.00, -0.60, 0.88, 0.26, turn=180, form=0.6),
        ),
        ("white", "brown", "blue"),
    ),
    "lamp": Kind(
        (
            Part(ellipse, 0.00, 0.10, 0.16, 0.16, LIGHT),
            Part(box, 0.00, -0.35, 0.07, 0.55, DARK),
            Part(dome, 0.00, -0.95, 0.45, 0.24, SECOND),
            Part(trapezoid, 0.00, 0.52, 0.64, 0.40, form=0.5),
        ),
        ("yellow", "white", "purple"),
    ),
    "chair": Kind(
        (
            Part(box, -0.46, -0.58, 0.09, 0.40, DARK),
            Part(box, 0.46, -0.58, 0.09, 0.40, DARK),
            Part(box, -0.46, 0.38, 0.12, 0.60),
            Part(rounded_box, 0.06, 0.00, 0.46, 0.14, SECOND, chance=0.6, name="cushion"),
            Part(box, 0.00, -0.18, 0.60, 0.12),
        ),
        ("brown", "black", "teal"),
    ),
    "mushroom": Kind(
        (
            Part(rounded_box, 0.00, -0.46, 0.22, 0.50, SECOND),
            Part(dome, 0.00, -0.12, 0.82, 0.82),
            Part(ellipse, -0.32, 0.18, 0.14, 0.12, LIGHT),
            Part(ellipse, 0.26, 0.30, 0.15, 0.13, LIGHT),
        ),
        ("red", "brown", "orange"),
    ),
    "bottle": Kind(
        (
            Part(box, 0.00, 0.55, 0.13, 0.32),
            Part(dome, 0.00, 0.08, 0.38, 0.34),
            Part(rounded_box, 0.00, -0.40, 0.40, 0.58),
            Part(box, 0.00, 0.86, 0.17, 0.11, DARK),
            Part(box, 0.00, -0.38, 0.36, 0.22, LIGHT, chance=0.8, name="paper label"),
        ),
        ("green", "teal", "brown"),
    ),
    "bird": Kind(
        (
            Part(capsule, -0.08, -0.62, 0.07, 0.32, DARK, form=4.5),
            Part(capsule, 0.16, -0.62, 0.07, 0.32, DARK, form=4.5),
            Part(trapezoid, 0.82, 0.44, 0.13, 0.18, LIGHT, turn=-90),
            Part(ellipse, -0.08, -0.05, 0.64, 0.38, turn=15),
            Part(ellipse, 0.50, 0.44, 0.27, 0.26),
            Part(ellipse, -0.20, 0.00, 0.34, 0.18, SECOND, turn=-20),
        ),
        ("yellow", "blue", "grey"),
    ),
}

# Small things around the object; their names are for captions.
CLUTTER: dict[str, Part] = {
    "ball": Part(ellipse, 0, 0, 1, 1),
    "block": Part(box, 0, 0, 1, 1),
    "wedge": Part(trapezoid, 0, 0, 1, 1),
}

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (205, 45, 40),
    "orange": (235, 135, 35),
    "yellow": (235, 210, 60),
    "green": (60, 150, 60),
    "teal": (40, 160, 165),
    "blue": (50, 90, 205),
    "purple": (130, 65, 170),
    "pink": (235, 130, 175),
    "brown": (125, 80, 45),
    "white": (238, 238, 232),
    "grey": (135, 135, 140),
    "black": (35, 35, 40),
}
