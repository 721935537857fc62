"""Adversarial building blocks: the critic's layers, where gradients flow, the loss, the penalty, and scaled weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sslbench.methods._adversarial import (
    CriticFeatures,
    call_frozen,
    discriminator_loss,
    equalise_learning_rates,
    gradient_penalty,
)


@pytest.mark.parametrize(("size", "side"), [(16, 4), (32, 4), (64, 4), (113, 3)])
def test_a_critic_halves_its_maps_down_to_four(size: int, side: int) -> None:
    """The features are the flattened last maps, at most 4 x 4 pixels large; the width doubles with every halving."""
    critic = CriticFeatures(size, width=4)
    assert critic(torch.randn(2, 3, size, size)).shape == (2, critic.dim)
    assert critic.dim == side**2 * 4 * 2 ** (sum(isinstance(layer, nn.Conv2d) for layer in critic) - 1)


def test_a_frozen_network_passes_gradients_to_its_input_only() -> None:
    """Its output is the network's own, a gradient reaches the input, and the weights get none."""
    torch.manual_seed(0)
    features, images = CriticFeatures(16, width=4).eval(), torch.rand(2, 3, 16, 16, requires_grad=True)
    outputs = call_frozen(features, images)
    assert torch.equal(outputs, features(images))
    outputs.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in features.parameters())


def test_the_loss_matches_a_loop() -> None:
    """It is the mean of -log D over positives plus the mean of -log(1 - D) over negatives: 2 log 2 if D is a half."""
    yes, no = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([1.0, -0.5])
    expected = sum(-math.log(1 / (1 + math.exp(-logit))) for logit in yes.tolist()) / 3
    expected += sum(-math.log(1 - 1 / (1 + math.exp(-logit))) for logit in no.tolist()) / 2
    assert discriminator_loss(yes, no).item() == pytest.approx(expected, rel=1e-5)
    assert discriminator_loss(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(2 * math.log(2))


def test_the_penalty_estimates_the_gradient() -> None:
    """It is half the squared norm of each item's gradient over all inputs, averaged, and can be trained on."""
    torch.manual_seed(0)
    slopes = torch.randn(5, requires_grad=True)

    def critic(x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([x, z], dim=1) @ slopes + 3

    x, z = torch.randn(20_000, 3), torch.randn(20_000, 2)
    found = gradient_penalty(critic, critic(x, z), x, z)
    assert found.item() == pytest.approx(slopes.square().sum().item() / 2, rel=0.05)
    found.backward()
    assert slopes.grad is not None
    torch.testing.assert_close(slopes.grad, slopes.detach(), atol=0.1, rtol=0.1)


def test_the_penalty_matches_a_loop() -> None:
    """Each item moves by its own random step."""
    features, x = CriticFeatures(16, width=4), torch.randn(3, 3, 16, 16)
    logits = features(x).sum(1)
    torch.manual_seed(1)
    found = gradient_penalty(lambda images: features(images).sum(1), logits, x)
    torch.manual_seed(1)
    moved, expected = x + 0.2 * torch.randn_like(x), 0.0
    for n in range(3):
        expected += ((features(moved[n : n + 1]).sum() - logits[n]) / 0.2).item() ** 2 / 2 / 3
    assert found.item() == pytest.approx(expected, rel=1e-3)


def test_equalised_layers_keep_their_outputs() -> None:
    """The outputs do not change; the stored weights of all layers have the same standard deviation."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(50, 36), nn.Unflatten(1, (9, 2, 2)), nn.ConvTranspose2d(9, 40, 4, 2, 1))
    inputs = torch.randn(3, 50)
    before = plain(inputs).detach()
    network = equalise_learning_rates(plain)
    torch.testing.assert_close(network(inputs), before)
    for name, stored in network.named_parameters():
        if name.endswith("original"):
            assert stored.std().item() == pytest.approx(0.2, rel=0.05)
