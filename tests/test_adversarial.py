"""The parts of adversarial methods: what a critic sees, who learns from what, and how long a step is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from methods._adversarial import Eyes, equalised, held, steady, told_apart


@pytest.mark.parametrize(("size", "side"), [(16, 4), (32, 4), (64, 4), (113, 3)])
def test_a_critic_halves_its_maps_down_to_four(size: int, side: int) -> None:
    """The features are the last maps, flattened; widths double while the side halves."""
    eyes = Eyes(size, width=4)
    features = eyes(torch.rand(2, 3, size, size))
    assert features.shape == (2, eyes.dim)
    assert eyes.dim == side**2 * 4 * 2 ** (sum(isinstance(layer, nn.Conv2d) for layer in eyes) - 1)


def test_a_held_critic_passes_gradients_to_its_input_alone() -> None:
    """Its answer is the critic's own, its gradient reaches the images, and its weights learn nothing."""
    torch.manual_seed(0)
    eyes, images = Eyes(16, width=4).eval(), torch.rand(2, 3, 16, 16, requires_grad=True)
    answer = held(eyes, images)
    assert torch.equal(answer, eyes(images))
    answer.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in eyes.parameters())


def test_the_loss_matches_a_loop() -> None:
    """-log D for those that are real and -log(1 - D) for the others, each a mean; 2 log 2 where D is a half."""
    yes, no = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([1.0, -0.5])
    expected = sum(-math.log(1 / (1 + math.exp(-logit))) for logit in yes.tolist()) / 3
    expected += sum(-math.log(1 - 1 / (1 + math.exp(-logit))) for logit in no.tolist()) / 2
    assert told_apart(yes, no).item() == pytest.approx(expected, rel=1e-5)
    assert told_apart(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(2 * math.log(2))


def test_a_steady_layer_cannot_stretch() -> None:
    """The largest singular value of its weight is 1, however far training drives what is stored."""
    torch.manual_seed(0)
    layer = steady(nn.Linear(20, 30))
    for factor in (1, 10):
        with torch.no_grad():
            layer.parametrizations["weight"].original.mul_(factor)  # type: ignore[index]
            for _ in range(50):
                layer(torch.zeros(1, 20))
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-2)


def test_equalised_layers_start_the_same_and_step_the_same() -> None:
    """The outputs are those of the plain network; what is stored has unit spread in every layer."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(50, 36), nn.Unflatten(1, (9, 2, 2)), nn.ConvTranspose2d(9, 40, 4, 2, 1))
    inputs = torch.randn(3, 50)
    before = plain(inputs).detach()
    network = equalised(plain)
    torch.testing.assert_close(network(inputs), before)
    for name, stored in network.named_parameters():
        if name.endswith("original"):
            assert stored.std().item() == pytest.approx(1, rel=0.05)
