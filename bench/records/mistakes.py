"""The mistakes that a classifier was most confident of: which test images, and one small picture of all of them.

They are small enough to store for every cell, so that a report can show them without the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from .measurement import Measurement
from .record import Mistake

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Images

PER_TAP = 5
SIDE = 32  # pixels of a picture

Mistakes = dict[str, tuple[Mistake, ...]]  # by tap, the most confident first


def find_mistakes(measurements: Iterable[Measurement], labels: np.ndarray) -> Mistakes:
    """The most confident mistakes at each tap, of its first measurement that has confidences; labels (N,)."""
    found: Mistakes = {}
    for measurement in measurements:
        if measurement.confidences is not None and measurement.tap not in found:
            found[measurement.tap] = most_confident_mistakes(measurement, labels)
    return found


def most_confident_mistakes(measurement: Measurement, labels: np.ndarray) -> tuple[Mistake, ...]:
    """The wrong predictions with the highest confidences; labels (N,)."""
    if measurement.predictions is None or measurement.confidences is None:
        return ()
    wrong = np.flatnonzero(measurement.predictions != labels)
    chosen = wrong[np.argsort(-measurement.confidences[wrong], kind="stable")[:PER_TAP]]
    return tuple(
        Mistake(
            image=int(image),
            label=int(labels[image]),
            predicted=int(measurement.predictions[image]),
            confidence=round(float(measurement.confidences[image]), 4),
        )
        for image in chosen
    )


def contact_sheet(images: Images, mistakes: Mistakes) -> bytes:
    """The images of mistakes as one WebP: for each tap a row of `PER_TAP` pictures of `SIDE` pixels."""
    from PIL import Image

    canvas = Image.new("RGB", (PER_TAP * SIDE, len(mistakes) * SIDE))
    for row, at_tap in enumerate(mistakes.values()):
        for column, mistake in enumerate(at_tap):
            picture = Image.fromarray(to_pixels(images[slice(mistake.image, mistake.image + 1)]))
            canvas.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (column * SIDE, row * SIDE))
    content = BytesIO()
    canvas.save(content, "webp", quality=75, method=6)
    return content.getvalue()


def to_pixels(images: Tensor) -> np.ndarray:
    """The first of uint8 images (n, 3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(images[0].permute(1, 2, 0).cpu().numpy())
