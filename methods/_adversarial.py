"""Building blocks of adversarial training: the critic's layers, its loss and penalty, and scaled weights.

A method here has one loss and one optimiser. The functions below route the gradients, so that each network
learns from its own term of that loss, and scale the weights, so that one learning rate suits all networks.
"""

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

STORED_STD = 0.2  # standard deviation at which weights are stored
PENALTY_STEP = 0.2  # standard deviation of the step, in values of [-1, 1]: well above what bf16 rounds away


class CriticFeatures(nn.Sequential):
    """Images (N, 3, S, S) in [-1, 1] -> features (N, dim): 4 x 4 convolutions of stride 2 (Radford et al. 2016)."""

    def __init__(self, size: int, *, width: int) -> None:
        super().__init__(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2))
        side = size // 2
        while side > 4:
            self.extend([nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2)])
            side, width = side // 2, 2 * width
        self.append(nn.Flatten())
        self.dim = width * side**2


class ScaledWeight(nn.Module):
    """A parametrisation: the layer uses the stored weight times a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, stored: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return self.scale * stored

    def right_inverse(self, used: Tensor) -> Tensor:
        """The weight that is stored."""
        return used / self.scale


def equalise_learning_rates(network: Network) -> Network:
    """Stores the weights of every layer at a standard deviation of 0.2 and scales them when used (Karras et al. 2018).

    One optimiser step then changes the weights of every layer by the same fraction. At the benchmark's learning
    rate of 2e-3 it is the fraction by which Radford et al. change weights of std 0.02 at a rate of 2e-4.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            initial_std = 1 / math.sqrt(3 * layer.weight[0].numel())  # PyTorch draws uniformly within 1 / sqrt(fan in)
            parametrize.register_parametrization(layer, "weight", ScaledWeight(initial_std / STORED_STD))
    return network


def call_frozen(network: nn.Module, *inputs: Tensor) -> Any:
    """The network's output for the inputs; gradients reach the inputs but not the network's weights."""
    return functional_call(network, {name: weight.detach() for name, weight in network.named_parameters()}, inputs)


def discriminator_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of -log D over positive logits (N,) plus mean of -log(1 - D) over negative ones: 2 log 2 at chance."""
    return F.softplus(-positive.float()).mean() + F.softplus(negative.float()).mean()


def gradient_penalty(critic: Callable[..., Tensor], logits: Tensor, *real: Tensor) -> Tensor:
    """Half the squared norm of the critic's gradient, averaged over items (R1 of Mescheder et al. 2018).

    ``logits`` (N,) are the critic's for the inputs ``real``, each (N, ...). The gradient is estimated without a second
    backward pass: the mean square of the slope along a random direction is the squared norm of the gradient.
    """
    moved = critic(*(values + PENALTY_STEP * torch.randn_like(values) for values in real))
    return ((moved.float() - logits.float()) / PENALTY_STEP).square().mean() / 2
