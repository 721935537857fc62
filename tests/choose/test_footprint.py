"""Parameters and memory of an encoder, counted without data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbench.bench.choose.footprint import measure_footprint
from sslbench.bench.encoders import Encoder


class TwoLayers(Encoder):
    """Two layers of one weight per pair of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stages["conv1"] = nn.Conv2d(3, 40, 1, bias=False)
        self.stages["conv2"] = nn.Conv2d(40, 5, 1, bias=False)
        self.widths |= {"conv1": 40, "conv2": 5}


class NeedsValues(TwoLayers):
    """Looks at a value, which tensors without data do not have."""

    def prepare_images(self, images: Tensor) -> Tensor:
        assert images.max().item() >= 0
        return super().prepare_images(images)


def test_parameters_and_the_most_that_a_pass_holds() -> None:
    """Of an image of 10 pixels: the normalised input and the output of the widest layer exist at the same time."""
    with torch.device("meta"):
        encoder = TwoLayers()
    weights, normalisation = 3 * 40 + 40 * 5, 2 * 3
    pixels, maps = 3 * 10 * 10, 40 * 10 * 10
    found = measure_footprint(encoder, "conv1", 10)
    assert found.parameters == weights
    assert found.memory_bytes == 4 * (weights + normalisation + pixels + maps)
    deeper = measure_footprint(encoder, "conv2", 10)
    assert deeper.memory_bytes == 4 * (weights + normalisation + maps + 5 * 10 * 10)  # the input is released by then


def test_memory_that_cannot_be_counted_is_not_known() -> None:
    """The parameters are."""
    with torch.device("meta"):
        encoder = NeedsValues()
    found = measure_footprint(encoder, "conv1", 10)
    assert (found.parameters, found.memory_bytes) == (320, None)
