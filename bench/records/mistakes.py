"""The mistakes a classifier was surest of: which test images, and one small picture of them all beside the record.

Small enough to keep for every cell, so that a report can show them without the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Images
    from .measurement import Measurement

KEPT = 5  # mistakes of a tap
SIDE = 32  # pixels of a picture


Mistakes = dict[str, list[dict[str, Any]]]  # tap -> its mistakes, the surest first


def mistakes(numbers: Iterable[Measurement], labels: np.ndarray) -> Mistakes:
    """Those of the first number of each tap that says how sure its predictions are."""
    found: Mistakes = {}
    for number in numbers:
        if number.confidences is not None and number.tap not in found:
            found[number.tap] = surest(number, labels)
    return found


def surest(number: Measurement, labels: np.ndarray) -> list[dict[str, Any]]:
    """The wrong predictions of a number (N,) with the highest confidences, the surest first."""
    if number.predictions is None or number.confidences is None:
        return []
    wrong = np.flatnonzero(number.predictions != labels)
    chosen = wrong[np.argsort(-number.confidences[wrong], kind="stable")[:KEPT]]
    return [
        {
            "image": int(image),  # its place in the test split
            "label": int(labels[image]),
            "predicted": int(number.predictions[image]),
            "confidence": round(float(number.confidences[image]), 4),
        }
        for image in chosen
    ]


def sheet(images: Images, found: Mistakes) -> bytes:
    """The images of mistakes as one WebP: a row of `KEPT` pictures of `SIDE` pixels for each tap."""
    from PIL import Image

    canvas = Image.new("RGB", (KEPT * SIDE, len(found) * SIDE))
    for down, of in enumerate(found.values()):
        for across, one in enumerate(of):
            picture = Image.fromarray(pixels(images[slice(one["image"], one["image"] + 1)]))
            canvas.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (across * SIDE, down * SIDE))
    content = BytesIO()
    canvas.save(content, "webp", quality=75, method=6)
    return content.getvalue()


def pixels(images: Tensor) -> np.ndarray:
    """The first of uint8 images (n, 3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(images[0].permute(1, 2, 0).cpu().numpy())
