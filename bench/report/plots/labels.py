"""Where the labels of points are written, so that they cover neither each other nor a point, and no line crosses.

Everything is in points of 1/72 inch, from the lower left corner of the figure; boxes are (left, bottom, right, top).
"""

from __future__ import annotations

import numpy as np

GAP = 4.0  # between a point and its label
ACROSS = (0, 5, 10, 16, 24, 34, 46, 60, 76, 94, 114)  # how far a label may be moved to either side
STEP, STEPS = 2.0, 45  # how far up or down
FREE = 3.0  # a label this near needs no line to its point
POINT_RADIUS = 2.5
LEADER_CLEARANCE = 1.7  # between a line to a label and another point
REACHES = (8.0, 32.0, np.inf)  # distances within which places are tried
LINE_COST = 12.0  # of covering a line, as a distance


def place_labels(points: np.ndarray, sizes: np.ndarray, area: np.ndarray, lines: np.ndarray) -> np.ndarray | None:
    """Points (N, 2) and sizes of labels (N, 2) -> boxes (N, 4) inside ``area`` (4,); None if there is no room.

    A label covers one of ``lines`` (M, 4), which are horizontal or vertical, only if no other place is near.
    """
    distances = np.abs(points[:, None] - points[None]) / sizes.mean(axis=0)
    crowded = (distances.max(axis=-1) < 1).sum(axis=1)  # how many points are near each
    orders = [np.arange(len(points)), np.lexsort(points.T), np.lexsort(-points.T), np.argsort(-crowded, kind="stable")]
    for order in orders:
        boxes = place_in_order(points[order], sizes[order], area, lines)
        if boxes is not None:
            return boxes[np.argsort(order)]
    return None


def place_in_order(points: np.ndarray, sizes: np.ndarray, area: np.ndarray, lines: np.ndarray) -> np.ndarray | None:
    """As `place_labels`; each label takes the nearest place that those before it left free."""
    widened = np.concatenate([np.minimum(lines[:, :2], lines[:, 2:]), np.maximum(lines[:, :2], lines[:, 2:])], axis=1)
    widened += np.array([-0.5, -0.5, 0.5, 0.5])
    marks = np.concatenate([points - POINT_RADIUS, points + POINT_RADIUS], axis=1)
    dots = np.concatenate([points - LEADER_CLEARANCE, points + LEADER_CLEARANCE], axis=1)
    boxes, leaders = np.empty((0, 4)), np.empty((0, 4))
    for place, (point, size) in enumerate(zip(points, sizes, strict=True)):
        others = np.arange(len(points)) != place
        candidates, distances = candidate_boxes(point, size)
        for reach in REACHES:  # most labels find a place nearby, so that the rest need not be looked at
            near, distance = candidates[distances <= reach], distances[distances <= reach]
            joins, covered = leader_lines(point, near), np.concatenate([boxes, marks[others]])
            bad = (near[:, :2] < area[:2]).any(axis=1) | (near[:, 2:] > area[2:]).any(axis=1)
            bad |= overlaps(near, covered).any(axis=1) | crosses_boxes(leaders, near).any(axis=0)
            blocked = crosses_boxes(joins, np.concatenate([boxes, dots[others]])).any(axis=1)
            bad |= (distance > FREE) & (blocked | crosses(joins, leaders).any(axis=1))
            cost = np.where(bad, np.inf, distance + LINE_COST * overlaps(near, widened).sum(axis=1))
            best = int(np.argmin(cost))
            if cost[best] <= reach:
                break
        if np.isinf(cost[best]):
            return None
        boxes = np.concatenate([boxes, near[[best]]])
        if distance[best] > FREE:
            leaders = np.concatenate([leaders, joins[[best]]])
    return boxes


def candidate_boxes(point: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) around a point, and the distance (K,) of each from the best place, which is at its right."""
    across, up = np.meshgrid(ACROSS, STEP * np.arange(-STEPS, STEPS + 1))
    across, up = across.ravel(), up.ravel()
    right = np.stack([point[0] + GAP + across, point[1] + up - size[1] / 2], axis=1)
    left = np.stack([point[0] - GAP - across - size[0], point[1] + up - size[1] / 2], axis=1)
    corners, distance = np.concatenate([right, left]), np.hypot(across, up)
    return np.concatenate([corners, corners + size], axis=1), np.concatenate([distance, distance + 0.5])


def leader_lines(point: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The line (K, 4) from a point (2,) to the middle of the nearer side of each box (K, 4)."""
    side = np.where(boxes[:, 0] > point[0], boxes[:, 0], boxes[:, 2])
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    return np.stack([np.full(len(boxes), point[0]), np.full(len(boxes), point[1]), side, middle], axis=1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Boxes (K, 4) and (M, 4) -> which pairs overlap (K, M)."""
    a, b = boxes[:, None], others[None]
    return np.asarray((a[..., :2] < b[..., 2:]).all(axis=-1) & (b[..., :2] < a[..., 2:]).all(axis=-1))


def crosses_boxes(lines: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Lines (K, 4) and boxes (M, 4) -> which lines cross a diagonal of which box (K, M)."""
    return np.asarray(crosses(lines, boxes) | crosses(lines, boxes[:, [0, 3, 2, 1]]))


def crosses(lines: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Lines (K, 4) and (M, 4), each from one end to the other -> which pairs cross (K, M)."""
    a, b, c, d = lines[:, None, :2], lines[:, None, 2:], others[None, :, :2], others[None, :, 2:]

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.asarray(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    return np.asarray((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0))
