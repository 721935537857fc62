"""Context encoder: where the holes are, which errors count, and which network learns from which loss."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._adversarial import gradient_penalty
from sslbench.methods.context_encoder import ContextEncoder


def make_method(*, size: int = 32, **settings: Any) -> ContextEncoder:
    torch.manual_seed(0)
    train_info = TrainInfo(num_images=64, num_classes=10, image_size=size)
    return ContextEncoder(ConvNet(size, width=4), train_info, **{"width": 4, "flip": 0.0} | settings).eval()


def make_batch(images: Tensor) -> Batch:
    return Batch(images=images, indices=torch.arange(len(images)))


@pytest.mark.parametrize(("size", "border"), [(32, 1), (64, 2), (128, 4)])
def test_the_central_hole(size: int, border: int) -> None:
    """The central half of the side is reconstructed; the hole is smaller by the overlap of 7 pixels at 227."""
    method = make_method(size=size)
    holes = method.draw_holes(torch.zeros(2, 3, size, size))
    rows = holes[1, 0].any(1).nonzero().flatten().tolist()
    assert method.border == border
    assert rows == list(range(size // 4 + border, 3 * size // 4 - border))
    assert torch.equal(holes[0, 0], holes[1, 0].T)
    assert holes.sum((1, 2, 3)).tolist() == [len(rows) ** 2] * 2
    assert method.inpaint(torch.rand(2, 3, size, size), holes).shape == (2, 3, size // 2, size // 2)


def test_random_blocks() -> None:
    """Each image misses up to a quarter of its area, in blocks of a quarter of the side at random places."""
    method = make_method(region="random")
    torch.manual_seed(0)
    holes = method.draw_holes(torch.zeros(1_000, 3, 32, 32))
    areas = holes.sum((1, 2, 3))
    assert holes.shape == (1_000, 1, 32, 32)
    assert areas.min() >= 64
    assert 200 < areas.max() <= 256
    assert len(holes.flatten(1).unique(dim=0)) > 990
    assert holes.any(0).all()  # the corners, too
    assert method.inpaint(torch.rand(2, 3, 32, 32), holes[:2]).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("region", ["central", "random"])
def test_what_is_missing_is_not_seen(region: str, tiny: Dataset) -> None:
    """Pixels inside the holes do not change the reconstruction; pixels outside do."""
    method = make_method(region=region)
    images = tiny.train.images[:3].float() / 255
    holes = method.draw_holes(images)
    filled = method.inpaint(images, holes)
    assert torch.equal(method.inpaint(torch.where(holes, torch.rand_like(images), images), holes), filled)
    assert not torch.equal(method.inpaint(torch.where(holes, images, torch.rand_like(images)), holes), filled)


@pytest.mark.parametrize("region", ["central", "random"])
def test_the_squared_error_matches_a_loop(region: str, tiny: Dataset) -> None:
    """Errors of missing pixels have weight 1, those next to a hole 10, and all others 0."""
    method = make_method(region=region, objective="l2")
    images = tiny.train.images[:2]
    torch.manual_seed(1)
    loss = method.loss(make_batch(images))
    torch.manual_seed(1)
    torch.rand(2, 1, 1, 1)  # the mirror's coins
    holes = method.draw_holes(images)
    filled = method.inpaint(images.float() / 255, holes)
    start = method.box.start
    total, squares, counted, missing = 0.0, 0.0, 0, 0
    for n, y, x in itertools.product(range(2), range(32), range(32)):
        near_hole = any(
            bool(holes[n, 0, a, b])
            for a in range(max(0, y - 1), min(32, y + 2))
            for b in range(max(0, x - 1), min(32, x + 2))
        )
        if not near_hole:
            continue
        hole = bool(holes[n, 0, y, x])
        counted += 3
        missing += 3 * hole
        for c in range(3):
            error = filled[n, c, y - start, x - start].item() - (2 * images[n, c, y, x].item() / 255 - 1)
            total += (1 if hole else 10) * error**2
            squares += hole * (error / 2) ** 2
    assert loss.item() == pytest.approx(total / counted, rel=1e-4)
    assert method.logged["psnr"].item() == pytest.approx(-10 * math.log10(squares / missing), rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "l2_weight", "adversarial_weight"), [("joint", 0.999, 0.001), ("adversarial", 0.0, 1.0)]
)
def test_each_side_learns_from_its_own_loss(
    objective: str, l2_weight: float, adversarial_weight: float, tiny: Dataset
) -> None:
    """In one backward pass encoder and decoder get the gradient of their loss only, and the critic that of its own."""
    method = make_method(objective=objective)
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(make_batch(images))
    loss.backward()
    torch.manual_seed(1)
    torch.rand(4, 1, 1, 1)  # the mirror's coins
    real = method.crop_box(2 * images.float() / 255 - 1)
    filled = method.inpaint(images.float() / 255, method.draw_holes(images))
    fakes, reals = method.critic(filled), method.critic(real)
    D = fakes.sigmoid()
    errors = (filled - real).square()
    ring = torch.ones(16, 16)
    ring[1:-1, 1:-1] = 0
    l2 = (errors * (1 + 9 * ring)).mean()
    painter = l2_weight * l2 - adversarial_weight * D.log().mean()
    critic = -reals.sigmoid().log().mean() - (1 - D).log().mean() + gradient_penalty(method.critic, reals, real)
    assert loss.item() == pytest.approx((painter + critic).item(), rel=1e-4)
    players = [*method.encoder.parameters(), *method.channelwise.parameters(), *method.decoder.parameters()]
    for side, own in ((players, painter), (list(method.critic.parameters()), critic)):
        for weight, expected in zip(side, torch.autograd.grad(own, side, retain_graph=True), strict=True):
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, expected, atol=1e-6, rtol=1e-3)


def test_squared_error_needs_no_critic() -> None:
    """Without an adversarial objective no critic is built."""
    assert not hasattr(make_method(objective="l2"), "critic")
    assert hasattr(make_method(), "critic")


def test_the_critic_of_random_holes_sees_the_whole_image(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the holes, fake images equal the real ones."""
    method = make_method(region="random")
    critic_inputs: list[Tensor] = []
    monkeypatch.setattr(
        method.critic, "forward", lambda images: critic_inputs.append(images.detach()) or images.sum((1, 2, 3))
    )
    torch.manual_seed(1)
    method.loss(make_batch(tiny.train.images[:3]))
    torch.manual_seed(1)
    torch.rand(3, 1, 1, 1)
    holes = method.draw_holes(tiny.train.images[:3])
    real, shown, _, _ = critic_inputs
    far = F.max_pool2d(holes.float(), 3, 1, 1) == 0
    torch.testing.assert_close(real, 2 * tiny.train.images[:3].float() / 255 - 1)
    assert torch.equal(shown.where(far, 0), real.where(far, 0))
    assert not torch.equal(shown.where(holes, 0), real.where(holes, 0))


@pytest.mark.parametrize("region", ["central", "random"])
def test_the_panels_show_the_filled_hole(region: str, tiny: Dataset) -> None:
    """Outside the holes all three panels agree; the caption gives the error inside the holes."""
    method = make_method(region=region)
    torch.manual_seed(2)
    with torch.no_grad():
        image, with_hole, filled = method.panels(make_batch(tiny.train.images[:3]))
    clean = image.images.float() / 255
    hole = (with_hole.images != clean).any(1, keepdim=True)
    assert torch.equal(filled.images.where(~hole, 0), clean.where(~hole, 0))
    torch.manual_seed(2)
    missing = method.draw_holes(clean)[1].expand(3, -1, -1)
    error = (filled.images[1] - clean[1])[missing].square().mean().item()
    assert filled.captions[1] == f"{-10 * math.log10(error):.1f} dB"
