"""The most confident mistakes: which are chosen, and the picture of them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from sslbench.bench.protocol import Measurement
from sslbench.bench.records.mistakes import PER_TAP, SIDE, contact_sheet, find_mistakes, most_confident_mistakes
from sslbench.bench.records.record import Mistake

LABELS = np.arange(60) % 3


def test_the_most_confident_mistakes_are_chosen() -> None:
    """Only wrong ones, the most confident first; none if nothing is wrong or there are no confidences."""
    measurement = Measurement(
        tap="t",
        metric="accuracy",
        value=0.5,
        predictions=np.array([0, 1, 1, 0, 2]),
        confidences=np.array([0.9, 0.4, 0.99, 0.7, 0.8]),
    )
    found = most_confident_mistakes(measurement, np.array([1, 1, 0, 0, 0]))
    assert found == (
        Mistake(image=2, label=0, predicted=1, confidence=0.99),
        Mistake(image=0, label=1, predicted=0, confidence=0.9),
        Mistake(image=4, label=0, predicted=2, confidence=0.8),
    )
    assert measurement.predictions is not None
    assert most_confident_mistakes(measurement, measurement.predictions) == ()
    later = Measurement(tap="t", metric="accuracy_k5", value=0, predictions=LABELS, confidences=LABELS)
    assert find_mistakes([measurement, later], np.array([1, 1, 0, 0, 0])) == {"t": found}
    unsure = Measurement(tap="t", metric="accuracy", value=0, predictions=LABELS)
    assert most_confident_mistakes(unsure, LABELS + 1) == ()


def test_the_pictures_are_small_and_in_their_places() -> None:
    """There is one WebP with a row per tap and a column per mistake; large images are scaled down."""
    images = torch.zeros(4, 3, 100, 100, dtype=torch.uint8)
    images[2, 0] = 255
    dark, bright = (Mistake(image=image, label=0, predicted=1, confidence=1.0) for image in (0, 2))
    picture = Image.open(BytesIO(contact_sheet(images, {"conv4": (dark, bright), "conv5": (bright,)})))
    assert picture.size == (PER_TAP * SIDE, 2 * SIDE)
    rgb = picture.convert("RGB")
    red = [np.asarray(rgb)[y + 16, x + 16, 0] > 200 for y in (0, SIDE) for x in (0, SIDE)]
    assert red == [False, True, True, False]
