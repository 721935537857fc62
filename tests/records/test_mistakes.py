"""The mistakes of a classifier: which ones a record keeps, and their picture."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.mistakes import KEPT, SIDE, mistakes, sheet, surest


def test_the_most_confident_mistakes_are_chosen() -> None:
    """Only wrong predictions, the most confident first; none without a mistake or without confidences."""
    number = Measurement(
        tap="t",
        metric="accuracy",
        value=0.5,
        predictions=np.array([0, 1, 1, 0, 2]),
        confidences=np.array([0.9, 0.4, 0.99, 0.7, 0.8]),
    )
    found = surest(number, np.array([1, 1, 0, 0, 0]))
    assert [(one["image"], one["label"], one["predicted"], one["confidence"]) for one in found] == [
        (2, 0, 1, 0.99),
        (0, 1, 0, 0.9),
        (4, 0, 2, 0.8),
    ]
    assert surest(number, number.predictions) == []
    labels = np.arange(60) % 3
    later = Measurement(tap="t", metric="accuracy_k5", value=0, predictions=labels, confidences=labels)
    assert mistakes([number, later], np.array([1, 1, 0, 0, 0])) == {"t": found}
    assert surest(Measurement(tap="t", metric="accuracy", value=0, predictions=labels), labels + 1) == []


def test_the_picture_has_a_row_per_tap_and_a_column_per_mistake() -> None:
    """All images of mistakes are scaled to thumbnails in one WebP."""
    images = torch.zeros(4, 3, 100, 100, dtype=torch.uint8)
    images[2, 0] = 255
    picture = Image.open(BytesIO(sheet(images, {"conv4": [{"image": 0}, {"image": 2}], "conv5": [{"image": 2}]})))
    assert picture.size == (KEPT * SIDE, 2 * SIDE)
    red = [picture.convert("RGB").getpixel((x + 16, y + 16))[0] > 200 for y in (0, SIDE) for x in (0, SIDE)]
    assert red == [False, True, True, False]
