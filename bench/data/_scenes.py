"""Random scenes of the synthetic data set: objects, clutter, background, colours and light.

Scenes are generated n at a time for one class, so that part k of all of them is
computed at once. Coordinates run from -1 to 1, with y upwards. Only the object
itself may reveal which way is up: everything else that has a direction gets a
uniformly random one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._shapes import CLUTTER, COLOURS, DARK, KINDS, LIGHT, MAIN, SECOND, Part, Shape, capsule

Reals = NDArray[np.float64]
Bytes = NDArray[np.uint8]

PALETTE = np.array(list(COLOURS.values())) / 255
NAMES = tuple(COLOURS)
HIDDEN = 9.0  # a coordinate outside of every image
GAPS = ((0.9, 1.5), (0.3, 0.8), (-0.4, -0.15))  # metres of depth from the object to each clutter, without overlap
BACK_TO_FRONT = (1, 2, 0, 3, 4)  # the things of a scene, farthest first


OPTIONAL_PARTS = tuple(part.name for appearance in KINDS.values() for part in appearance.parts if part.name)
LABEL_NAMES = (*CLUTTER, "bar", *OPTIONAL_PARTS)
VALUE_NAMES = ("x", "y", "size", "turn")  # of the object: places from -1 to 1, a share of the image, degrees


@dataclass(frozen=True)
class Thing:
    """One rigid thing in each of n scenes: its poses, its parts in its own square, and their colours."""

    x: Reals  # (n,), like all poses
    y: Reals
    size: Reals
    turn: Reals  # radians, counter-clockwise
    mirror: Reals  # 1 or -1
    distance: Reals  # metres
    number: int  # in masks; 0 is the background
    shapes: tuple[Shape, ...]
    places: Reals  # (n, parts, 6): x, y, half-width, half-height, turn, form
    colours: Reals  # (n, parts, 3)


@dataclass(frozen=True)
class Scenes:
    """n scenes of one class: things in front of a two-colour background, under a light."""

    kind: str
    things: tuple[Thing, ...]  # the object, the clutter, and a bar in front of everything
    names: tuple[NDArray[np.int64], ...]  # of each thing: index (n,) of its main colour in NAMES
    shown: Bytes  # (n, things), whether a thing exists
    backdrop: Reals  # (n, 2, 3), the two colours of the background gradient
    ramp: Reals  # (n, 3): direction, offset, steepness of that gradient
    texture: Reals  # (n, 2, 4): direction, frequency, phase, strength of each wave
    light: Reals  # (n, 2): direction, strength
    plane: Reals  # (n, 3): distance of the background in metres, direction and strength of its slant

    def __len__(self) -> int:
        return len(self.ramp)


def generate_scenes(kind: str, n: int, rng: np.random.Generator, *, horizon: bool) -> Scenes:
    """Generates n random scenes of one class; ``horizon`` makes the background sky above ground."""
    appearance = KINDS[kind]
    backdrop_names = rng.integers(len(NAMES), size=(n, 2))
    backdrop = random_shades(backdrop_names, rng, 0.25)
    # Mixed with one grey, so that most colours stand out from the background.
    backdrop += 0.6 * (rng.uniform(0.2, 0.9, (n, 1, 1)) - backdrop)
    angle = rng.uniform(0, 2 * np.pi, n)
    ramp = np.stack([angle, rng.uniform(-0.5, 0.5, n), np.exp(rng.uniform(-0.7, 2.5, n))], 1)
    light = np.stack([rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 0.3, n)], 1)
    if horizon:
        sky, ground = np.array([0.55, 0.75, 0.95]), np.array([0.35, 0.45, 0.2])
        backdrop = np.stack([ground, sky]) + rng.uniform(-0.12, 0.12, (n, 2, 3))
        ramp[:, 0] = np.pi / 2 + rng.uniform(-0.1, 0.1, n)
        ramp[:, 2] = rng.uniform(3, 12, n)
        light[:, 0] = np.pi / 2 + rng.uniform(-0.5, 0.5, n)

    size = rng.uniform(0.62, 0.9, n)
    reach = 1 - size * 0.9
    main = choose_contrasting(rng, backdrop, [NAMES.index(name) for name in appearance.colours])
    thing = Thing(
        x=rng.uniform(-1, 1, n) * reach,
        y=rng.uniform(-1, 1, n) * reach,
        size=size,
        turn=np.deg2rad(rng.uniform(-15, 15, n)),
        mirror=rng.choice([-1.0, 1.0], n),
        distance=1.6 / size,
        number=1,
        shapes=tuple(part.shape for part in appearance.parts),
        places=jitter_parts(appearance.parts, n, rng),
        colours=colour_parts(appearance.parts, main, choose_contrasting(rng, backdrop, []), rng),
    )
    things, names = [thing], [main]
    shown = rng.random((n, len(CLUTTER) + 2)) < [1.0, 0.6, 0.6, 0.6, 0.4]
    for number, (part, gap) in enumerate(zip(CLUTTER.values(), GAPS, strict=True), 2):
        names.append(rng.integers(len(NAMES), size=n))
        things.append(random_clutter(part, number, gap, names[-1], shown[:, number - 1], thing, rng))
    names.append(rng.integers(len(NAMES), size=n))
    things.append(random_occluder(names[-1], shown[:, -1], thing, rng))
    return Scenes(
        kind=kind,
        things=tuple(things),
        names=tuple(names),
        shown=shown.astype(np.uint8),
        backdrop=backdrop,
        ramp=ramp,
        texture=np.stack(
            [
                rng.uniform(0, 2 * np.pi, (n, 2)),
                rng.uniform(2, 9, (n, 2)),
                rng.uniform(0, 2 * np.pi, (n, 2)),
                rng.uniform(0, 0.08, (n, 2)),
            ],
            2,
        ),
        light=light,
        plane=np.stack([rng.uniform(7, 10, n), rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 1.5, n)], 1),
    )


def things_and_parts(scenes: Scenes) -> NDArray[np.bool_]:
    """Which of LABEL_NAMES are in each scene (n, labels): things next to the object, and parts that may be missing."""
    parts = KINDS[scenes.kind].parts
    absent = scenes.things[0].places[:, :, 0] == HIDDEN
    optional = np.zeros((len(scenes), len(OPTIONAL_PARTS)), bool)
    for index, part in enumerate(parts):
        if part.name:
            optional[:, OPTIONAL_PARTS.index(part.name)] = ~absent[:, index]
    return np.concatenate([scenes.shown[:, 1:].astype(bool), optional], 1)


def poses(scenes: Scenes) -> Reals:
    """The object's VALUE_NAMES in each scene (n, 4)."""
    thing = scenes.things[0]
    return np.stack([thing.x, thing.y, thing.size, np.rad2deg(thing.turn)], 1)


def random_shades(names: NDArray[np.int64], rng: np.random.Generator, spread: float) -> Reals:
    """Indices of colour names (...) -> a random shade of each colour (..., 3)."""
    shades: Reals = PALETTE[names] * rng.uniform(1 - spread, 1 + spread / 2, (*names.shape, 1))
    return np.clip(shades + rng.uniform(-0.06, 0.06, shades.shape), 0, 1)


def choose_contrasting(rng: np.random.Generator, backdrop: Reals, likely: list[int]) -> NDArray[np.int64]:
    """Chooses among three random colours the one with most contrast to the backdrop (n, 2, 3) -> index (n,)."""
    n = len(backdrop)
    picks = rng.integers(len(NAMES), size=(n, 3))
    if likely:
        picks[:, 0] = np.where(rng.random(n) < 0.5, rng.choice(likely, n), picks[:, 0])
    contrast = np.abs(PALETTE[picks][:, :, None] - backdrop[:, None]).sum(3).min(2)
    return np.asarray(picks[np.arange(n), contrast.argmax(1)])


def jitter_parts(parts: tuple[Part, ...], n: int, rng: np.random.Generator) -> Reals:
    """Places (n, parts, 6) of the parts, each slightly moved, resized and turned; some are left out."""
    places = np.array([[p.x, p.y, p.half_width, p.half_height, np.deg2rad(p.turn), p.form] for p in parts])
    places = np.repeat(places[None], n, 0)
    places[:, :, :2] += rng.uniform(-0.05, 0.05, (n, len(parts), 2))
    places[:, :, 2:4] *= rng.uniform(0.84, 1.16, (n, len(parts), 2))
    places[:, :, 4] += rng.uniform(-0.1, 0.1, (n, len(parts)))
    places[:, :, [0, 2]] *= rng.uniform(0.8, 1.15, (n, 1, 1))  # slim and wide objects
    absent = rng.random((n, len(parts))) > [part.chance for part in parts]
    places[:, :, 0] = np.where(absent, HIDDEN, places[:, :, 0])
    return places


def colour_parts(
    parts: tuple[Part, ...], main: NDArray[np.int64], second: NDArray[np.int64], rng: np.random.Generator
) -> Reals:
    """Colours (n, parts, 3) of parts, given the indices (n,) of the main and the second colour."""
    n = len(main)
    slots = np.empty((n, 4, 3))
    slots[:, MAIN] = random_shades(main, rng, 0.2)
    slots[:, SECOND] = random_shades(second, rng, 0.2)
    slots[:, DARK] = slots[:, MAIN] * rng.uniform(0.15, 0.55, (n, 1))
    slots[:, LIGHT] = 1 - (1 - slots[:, MAIN]) * rng.uniform(0.1, 0.5, (n, 1))
    # In some scenes dark and light parts are exchanged.
    swap = rng.random(n) < 0.1
    slots[swap, DARK], slots[swap, LIGHT] = slots[swap, LIGHT], slots[swap, DARK]
    return slots[:, [part.colour for part in parts]]


def random_clutter(
    part: Part,
    number: int,
    gap: tuple[float, float],
    names: NDArray[np.int64],
    shown: NDArray[np.bool_],
    thing: Thing,
    rng: np.random.Generator,
) -> Thing:
    """A small plain thing at a random place and angle next to the object."""
    n = len(names)
    around = rng.uniform(0, 2 * np.pi, n)
    away = thing.size + rng.uniform(0, 0.35, n)
    places = np.tile([0.0, 0.0, 1.0, 1.0, 0.0, part.form], (n, 1, 1))
    places[:, 0, 2] = rng.uniform(0.6, 1.2, n)
    size = rng.uniform(0.08, 0.18, n)
    return Thing(
        x=np.where(shown, np.clip(thing.x + away * np.cos(around), -0.9, 0.9), HIDDEN),
        y=np.clip(thing.y + away * np.sin(around), -0.9, 0.9),
        size=size,
        turn=rng.uniform(0, 2 * np.pi, n),
        mirror=np.ones(n),
        distance=thing.distance + rng.uniform(*gap, n),
        number=number,
        shapes=(part.shape,),
        places=places,
        colours=random_shades(names, rng, 0.25)[:, None],
    )


def random_occluder(
    names: NDArray[np.int64], shown: NDArray[np.bool_], thing: Thing, rng: np.random.Generator
) -> Thing:
    """A bar close to the camera, at a random angle, that hides part of the object."""
    n = len(names)
    around = rng.uniform(0, 2 * np.pi, n)
    away = thing.size * rng.uniform(0.4, 1.0, n)
    places = np.tile([0.0, 0.0, 1.0, 1.0, 0.0, 7.0], (n, 1, 1))
    places[:, 0, 2] = 1 / 7
    return Thing(
        x=np.where(shown, thing.x + away * np.cos(around), HIDDEN),
        y=thing.y + away * np.sin(around),
        size=rng.uniform(0.3, 0.6, n),
        turn=rng.uniform(0, 2 * np.pi, n),
        mirror=np.ones(n),
        distance=thing.distance * rng.uniform(0.5, 0.7, n),
        number=0,
        shapes=(capsule,),
        places=places,
        colours=random_shades(names, rng, 0.25)[:, None],
    )


def animate_scenes(stills: Scenes, frames: int, rng: np.random.Generator) -> Scenes:
    """n scenes -> n * frames scenes, frame by frame: the object, each clutter and the camera move independently."""
    n = len(stills)
    time = np.tile(np.linspace(-0.5, 0.5, frames), n)

    def repeat(values: Any) -> Any:
        return np.repeat(values, frames, 0)

    def linear_motion(spread: float) -> Reals:
        return np.repeat(rng.uniform(-spread, spread, n), frames) * time

    camera_x, camera_y = linear_motion(0.5), linear_motion(0.5)
    things = []
    for thing in stills.things:
        distance = repeat(thing.distance)
        moves = thing.number > 0
        things.append(
            replace(
                thing,
                x=repeat(thing.x) - camera_x / distance + (linear_motion(0.7) if moves else 0),
                y=repeat(thing.y) - camera_y / distance + (linear_motion(0.7) if moves else 0),
                size=repeat(thing.size) * np.exp(linear_motion(0.2 if moves else 0)),
                turn=repeat(thing.turn) + linear_motion(0.4 if moves else 0),
                mirror=repeat(thing.mirror),
                distance=distance,
                places=repeat(thing.places),
                colours=repeat(thing.colours),
            )
        )
    ramp, texture, plane = repeat(stills.ramp), repeat(stills.texture), repeat(stills.plane)
    far_x, far_y = camera_x / plane[:, 0], camera_y / plane[:, 0]
    ramp[:, 1] += np.cos(ramp[:, 0]) * far_x + np.sin(ramp[:, 0]) * far_y
    along = np.cos(texture[:, :, 0]) * far_x[:, None] + np.sin(texture[:, :, 0]) * far_y[:, None]
    texture[:, :, 2] += texture[:, :, 1] * along
    return replace(
        stills,
        things=tuple(things),
        names=tuple(repeat(names) for names in stills.names),
        shown=repeat(stills.shown),
        backdrop=repeat(stills.backdrop),
        ramp=ramp,
        texture=texture,
        light=repeat(stills.light),
        plane=plane,
    )
