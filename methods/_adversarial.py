"""Parts that adversarial methods share: a critic's eyes, its loss, and what keeps the game even under one optimiser."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


class Eyes(nn.Sequential):
    """Images (N, 3, S, S) in [0, 1] -> features (N, dim): convolutions of 4 x 4, stride 2 (Radford et al. 2016)."""

    def __init__(self, size: int, *, width: int) -> None:
        super().__init__(steady(nn.Conv2d(3, width, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2))
        side = size // 2
        while side > 4:
            self.extend([steady(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2)])
            side, width = side // 2, 2 * width
        self.append(nn.Flatten())
        self.dim = width * side**2

    def forward(self, images: Tensor) -> Tensor:
        """Images -> features, from values brought to [-1, 1]."""
        return super().forward(2 * images - 1)


def steady(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with spectral normalisation (Miyato et al. 2018), which bounds how steep a critic can become.

    It forgets how long a weight is; one that starts at unit spread takes its steps as an equalised one does.
    """
    with torch.no_grad():
        layer.weight *= unit(layer)
    return spectral_norm(layer)


def equalised(network: nn.Module) -> nn.Module:
    """The network with its weights stored at unit spread and scaled when used (Karras et al. 2018).

    A step is then as long for a weight of any layer, and so short that neither side of a game runs away.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            parametrize.register_parametrization(layer, "weight", Scaled(1 / unit(layer)))
    return network


class Scaled(nn.Module):
    """A weight as used, from the one that is stored."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, stored: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return self.scale * stored

    def right_inverse(self, used: Tensor) -> Tensor:
        """The weight that is stored."""
        return used / self.scale


def unit(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> float:
    """What brings a layer's first weights, uniform within 1 / sqrt(fan in), to a spread of 1."""
    return math.sqrt(3 * layer.weight[0].numel())


def held(critic: nn.Module, *inputs: Tensor) -> Any:
    """What the critic says, with gradients to its inputs and none to its weights."""
    return functional_call(critic, {name: weight.detach() for name, weight in critic.named_parameters()}, inputs)


def told_apart(yes: Tensor, no: Tensor) -> Tensor:
    """-log D(yes) - log(1 - D(no)), each averaged, from logits (N,): 2 log 2 where D cannot tell."""
    return F.softplus(-yes.float()).mean() + F.softplus(no.float()).mean()
