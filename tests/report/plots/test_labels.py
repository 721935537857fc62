"""Where names of points are written: near their points, never over each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from sslbench.bench.report.plots.labels import (
    GAP,
    POINT_RADIUS,
    crosses,
    crosses_boxes,
    leader_lines,
    overlaps,
    place_labels,
)

AREA = np.array([0.0, 0.0, 220.0, 220.0])
NO_LINES = np.empty((0, 4))


def test_a_name_with_room_is_at_the_right_of_its_point() -> None:
    """At the right edge it is at the left, and away from a line if there is room without it."""
    points, sizes = np.array([[50.0, 50.0], [200.0, 150.0]]), np.array([[40.0, 7.0], [40.0, 7.0]])
    first, second = place_labels(points, sizes, AREA, NO_LINES)  # type: ignore[misc]
    assert first.tolist() == [50 + GAP, 46.5, 90 + GAP, 53.5]
    assert second.tolist() == [160 - GAP, 146.5, 200 - GAP, 153.5]
    moved, _ = place_labels(points, sizes, AREA, np.array([[0.0, 50.0, 100.0, 50.0]]))  # type: ignore[misc]
    assert moved[1] >= 50.5 or moved[3] <= 49.5


def test_thirty_names_in_one_crowd_do_not_touch() -> None:
    """No name covers another or a point, none leaves the area, and no lines to points cross."""
    area = np.array([0.0, 0.0, 260.0, 320.0])
    points = area[2:] / 2 + np.random.default_rng(0).normal(size=(30, 2)) * [14, 60]
    sizes = np.tile([[45.0, 7.0]], (30, 1))
    boxes = place_labels(points, sizes, area, NO_LINES)
    assert boxes is not None
    assert not any(overlaps(boxes[[a]], boxes[[b]]).any() for a, b in combinations(range(30), 2))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= area[2:]).all()
    for place, box in enumerate(boxes):
        others = np.delete(points, place, axis=0)
        marks = np.concatenate([others - POINT_RADIUS, others + POINT_RADIUS], axis=1)
        assert not overlaps(box[None], marks).any()
    lines = np.concatenate([leader_lines(point, box[None]) for point, box in zip(points, boxes, strict=True)])
    far = np.hypot(*(lines[:, :2] - lines[:, 2:]).T) > 2 * GAP
    assert far.any()
    assert not crosses(lines[far], lines[far]).any()
    assert not any(
        crosses_boxes(lines[[a]], boxes[[b]]).any() for a in np.flatnonzero(far) for b in range(30) if a != b
    )
    again = place_labels(points, sizes, area, NO_LINES)
    assert np.array_equal(again, boxes)  # type: ignore[arg-type]


def test_without_room_there_are_no_places() -> None:
    """Forty names do not fit in an area for ten."""
    points = np.stack([np.full(40, 30.0), np.linspace(5, 65, 40)], axis=1)
    assert place_labels(points, np.tile([[50.0, 7.0]], (40, 1)), np.array([0.0, 0.0, 60.0, 70.0]), NO_LINES) is None
