"""Networks that cannot be taken apart: which of a module's tokens are the grid of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbench.bench.encoders import class_token_of
from sslbench.bench.encoders._hooked import HookedEncoder


class Tokens(nn.Module):
    """Maps (N, C, h, w) -> tokens (N, 5 + h * w, C): a class token of ones, four registers of twos, the patches."""

    def forward(self, maps: Tensor) -> Tensor:
        """All tokens."""
        patches = maps.flatten(2).mT
        class_token, registers = torch.ones_like(patches[:, :1]), torch.full_like(patches[:, :4], 2)
        return torch.cat([class_token, registers, patches], dim=1)


def test_registers_are_not_read_as_patches() -> None:
    """2 x 2 patches after five other tokens are not a grid of 3 x 3, and the class token is the first of all."""
    network = nn.Sequential(nn.Conv2d(3, 8, 16, 16), Tokens())
    encoder = HookedEncoder(network, 32, mean=(0.5,) * 3, std=(0.5,) * 3)
    encoder.set_taps({"patches": "0", "tokens": "1"})
    assert encoder.token_taps == ("tokens",)
    found = encoder.features(torch.rand(2, 3, 32, 32), ["tokens", class_token_of("tokens"), "patches"])
    assert torch.equal(found["tokens"], found["patches"])
    assert torch.equal(found[class_token_of("tokens")], torch.ones(2, 8, 1, 1))
