"""What the pictures of several protocols share: which images they show, and how targets become colours."""

from __future__ import annotations

import torch
from torch import Tensor

from sslbench import VOID, FeatureSpec, Representation, evenly_spaced

ROWS = 6  # images that are shown
GOLDEN = 0.618034  # of the hue's circle: neighbouring numbers get hues that are far from each other


def shown_rows(representation: Representation, spec: FeatureSpec) -> Tensor:
    """Which of the test images that a spec is about are shown: indices int64 (n,) among its features."""
    return evenly_spaced(len(spec.indices(len(representation.test_labels))), ROWS)


def shown_images(representation: Representation, spec: FeatureSpec) -> Tensor:
    """The images uint8 (n, 3, H, W) of `shown_rows`."""
    indices = spec.indices(len(representation.test_labels))
    return representation.test_images[indices[shown_rows(representation, spec)]]


def colour_labels(labels: Tensor) -> Tensor:
    """Labels (N, H, W) -> floats (N, 3, H, W): 0 is black, VOID is white, and every other label has a colour."""
    labels = labels.long()
    hue = (labels * GOLDEN % 1)[:, None] * 6
    offsets = torch.tensor([5.0, 3.0, 1.0], device=labels.device).view(1, 3, 1, 1)
    k = (offsets + hue) % 6
    colours = 1 - 0.75 * torch.minimum(k, 4 - k).clamp(0, 1)  # HSV with a saturation of 0.75 and a value of 1
    colours = torch.where(labels[:, None] == 0, 0.0, colours)
    return torch.where(labels[:, None] == VOID, 1.0, colours)


def as_grey(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Numbers (N, H, W) -> greys (N, 3, H, W), black at ``low`` and white at ``high``; both (N,)."""
    low, high = low.view(-1, 1, 1), high.view(-1, 1, 1)
    greys = (values - low) / (high - low).clamp_min(1e-6)
    return greys.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
