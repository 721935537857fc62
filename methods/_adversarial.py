"""Parts that adversarial methods share: a critic's eyes, its loss, and what keeps the game even under one optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

Network = TypeVar("Network", bound=nn.Module)

SPREAD = 0.2
STEP = 0.2  # in values of [-1, 1]: well above what bf16 rounds away


class Eyes(nn.Sequential):
    """Images (N, 3, S, S) in [-1, 1] -> features (N, dim): convolutions of 4 x 4, stride 2 (Radford et al. 2016)."""

    def __init__(self, size: int, *, width: int) -> None:
        super().__init__(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2))
        side = size // 2
        while side > 4:
            self.extend([nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2)])
            side, width = side // 2, 2 * width
        self.append(nn.Flatten())
        self.dim = width * side**2


class Scaled(nn.Module):
    """A weight as it is used, from the one that is stored."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, stored: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return self.scale * stored

    def right_inverse(self, used: Tensor) -> Tensor:
        """The weight that is stored."""
        return used / self.scale


def equalised(network: Network) -> Network:
    """The network with every layer's weights stored at a spread of 0.2 and scaled when used (Karras et al. 2018).

    So a step is as long for every layer, and the benchmark's rate of 2e-3 moves a weight by the share of its
    spread by which Radford et al.'s rate of 2e-4 moves weights of a spread of 0.02.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            first = 1 / math.sqrt(3 * layer.weight[0].numel())  # the spread of values uniform within 1 / sqrt(fan in)
            parametrize.register_parametrization(layer, "weight", Scaled(first / SPREAD))
    return network


def held(critic: nn.Module, *inputs: Tensor) -> Any:
    """What the critic says, with gradients to its inputs and none to its weights."""
    return functional_call(critic, {name: weight.detach() for name, weight in critic.named_parameters()}, inputs)


def told_apart(yes: Tensor, no: Tensor) -> Tensor:
    """-log D(yes) - log(1 - D(no)), each averaged, from logits (N,): 2 log 2 where D cannot tell."""
    return F.softplus(-yes.float()).mean() + F.softplus(no.float()).mean()


def steepness(critic: Callable[..., Tensor], logits: Tensor, *real: Tensor) -> Tensor:
    """Mean over the items of half the squared norm of the logit's gradient (R1 of Mescheder et al. 2018).

    ``logits`` (N,) are the critic's of ``real``, each (N, ...). A step in a random direction stands for the gradient:
    the mean square of the slope along it is the gradient's squared norm, without a gradient of a gradient.
    """
    moved = critic(*(values + STEP * torch.randn_like(values) for values in real))
    return ((moved.float() - logits.float()) / STEP).square().mean() / 2
