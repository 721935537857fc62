"""Colourisation: colours are hidden from the encoder, the rebalanced loss, and the counts of colours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders._input_mode import encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import random_resized_crops
from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._quarter import average_to_quarter, quarter_side
from sslbench.methods.colorization import Colorization, rebalancing_weights

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: object) -> Colorization:
    """The method with a narrow encoder that sees lightness, and head weights large enough that an error shows."""
    torch.manual_seed(0)
    encoder = encoder_for_input_mode(ConvNet, Colorization.input_mode, 32, {"width": 4})
    method = Colorization(encoder, TRAIN_INFO, **settings)  # type: ignore[arg-type]
    torch.nn.init.normal_(method.head.answer.weight)
    return method


def make_batch(images: Tensor) -> Batch:
    return Batch(images=images, indices=torch.arange(len(images)))


def test_the_encoder_cannot_see_colour() -> None:
    """Two images with the same L* but different a* and b* have the same features and the same predictions."""
    method = make_method().eval()
    torch.manual_seed(1)
    L = 45 + 10 * torch.rand(3, 1, 32, 32)
    images = [lab_to_rgb(torch.cat([L, 15 * torch.randn(3, 2, 32, 32).clamp(-1, 1)], dim=1)) for _ in range(2)]
    assert (images[0] - images[1]).abs().mean() > 0.02
    for tap in method.encoder.taps:
        one, other = (method.encoder.features(image, [tap])[tap] for image in images)
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(*(method.predict(image) for image in images), atol=1e-3, rtol=1e-3)
    lighter = lab_to_rgb(torch.cat([L + 20 * torch.rand_like(L), torch.zeros(3, 2, 32, 32)], dim=1))
    assert not torch.allclose(method.encoder(lighter), method.encoder(images[0]), atol=1e-3)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Equations 2 to 4, pixel by pixel and bin by bin, with the colours counted so far."""
    method = make_method(uniform=0.4).eval()  # batch norm as in the loop, one pass
    images, Q = tiny.train.images[:2], len(method.gamut)
    method.counts += torch.randint(0, 1000, (Q,))
    torch.manual_seed(2)
    loss = method.loss(make_batch(images))
    torch.manual_seed(2)
    views = random_resized_crops(images, scale=(method.crop, 1.0), flip=method.flip)
    truth, logits = rgb_to_lab(average_to_quarter(views))[:, 1:], method.predict(views)
    bins, total = method.gamut.bins.tolist(), method.counts.sum().item()

    def kernel(p: list[float], q: list[float]) -> float:
        return math.exp(-((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) / (2 * 5.0**2))

    shares = [0.0] * Q
    for q, count in zip(bins, method.counts.tolist(), strict=True):
        spread = [kernel(p, q) for p in bins]
        for p in range(Q):
            shares[p] += count / total * spread[p] / sum(spread)
    weights = [1 / (0.6 * share + 0.4 / Q) for share in shares]
    mean = sum(share * weight for share, weight in zip(shares, weights, strict=True))
    terms, nats = [], []
    for n, y, x in ((n, y, x) for n in range(2) for y in range(8) for x in range(8)):
        colour, answer = truth[n, :, y, x].tolist(), logits[n, :, y, x].tolist()
        near = sorted(range(Q), key=lambda q: -kernel(colour, bins[q]))[:5]
        code = {q: kernel(colour, bins[q]) for q in near}
        log_sum = max(answer) + math.log(sum(math.exp(z - max(answer)) for z in answer))
        nats.append(-sum(code[q] / sum(code.values()) * (answer[q] - log_sum) for q in near))
        terms.append(weights[near[0]] / mean * nats[-1])
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["nats"].item() == pytest.approx(sum(nats) / len(nats), rel=1e-3)


def test_rare_colours_weigh_more() -> None:
    """The mean weight over pixels is 1, frequent colours get less, and with ``uniform=1`` all weights are 1."""
    gamut = make_method().gamut
    counts = torch.ones(len(gamut), dtype=torch.long)
    grey = gamut.nearest_bin(torch.zeros(1, 2, 1, 1)).item()
    red = gamut.nearest_bin(torch.tensor([80.0, 70.0]).view(1, 2, 1, 1)).item()
    counts[int(grey)], counts[int(red)] = 100_000, 3_000
    weights = rebalancing_weights(counts, gamut.bins, 0.5)
    green = gamut.nearest_bin(torch.tensor([-80.0, 80.0]).view(1, 2, 1, 1)).item()
    assert weights[int(grey)] < weights[int(red)] < weights[int(green)]
    torch.testing.assert_close(rebalancing_weights(counts, gamut.bins, 1.0), torch.ones(len(gamut)))


def test_colours_are_counted_in_training_only(tiny: Dataset) -> None:
    """Each step counts its pixels once, at their nearest bins; in eval mode nothing is counted."""
    method = make_method(crop=1.0, flip=0.0)
    images = tiny.train.images[:6]
    before = method.counts.clone()
    method.eval().loss(make_batch(images))
    assert torch.equal(method.counts, before)
    for step in (1, 2):
        torch.manual_seed(3)
        method.train().loss(make_batch(images))
        assert (method.counts - before).sum() == step * 6 * quarter_side(32) ** 2
    # A random aspect ratio still cuts off the border, so count the pixels of the same views.
    torch.manual_seed(3)
    shown = method.gamut.nearest_bin(
        rgb_to_lab(average_to_quarter(random_resized_crops(images, scale=(1.0, 1.0), flip=0.0)))[:, 1:]
    )
    assert torch.equal(method.counts - before, 2 * torch.bincount(shown.flatten(), minlength=len(before)))


def test_without_rebalancing_the_loss_is_the_plain_cross_entropy(tiny: Dataset) -> None:
    """With ``uniform=1`` all colours have the same weight; with less they have not."""
    for uniform, alike in ((1.0, True), (0.5, False)):
        method = make_method(uniform=uniform)
        torch.manual_seed(4)
        loss = method.loss(make_batch(tiny.train.images[:8])).item()
        assert (loss == pytest.approx(method.logged["nats"].item(), rel=1e-4)) is alike


def test_regression_is_the_squared_error(tiny: Dataset) -> None:
    """``target="regression"`` predicts two numbers per pixel; the loss is their squared error relative to the range."""
    method = make_method(target="regression").eval()
    images = tiny.train.images[:3]
    torch.manual_seed(5)
    loss = method.loss(make_batch(images))
    torch.manual_seed(5)
    views = random_resized_crops(images, scale=(method.crop, 1.0), flip=method.flip)
    truth, answers = rgb_to_lab(average_to_quarter(views))[:, 1:], method.predict(views)
    assert answers.shape == (3, 2, 8, 8)
    squares = [
        (answers[n, c, y, x].item() - truth[n, c, y, x].item() / 110) ** 2
        for n in range(3)
        for c in range(2)
        for y in range(8)
        for x in range(8)
    ]
    assert loss.item() == pytest.approx(sum(squares) / len(squares), rel=1e-4)


def test_the_grey_panel_has_the_lightness_and_no_colour(tiny: Dataset) -> None:
    """The panel of what the encoder sees keeps L* and has no colour."""
    images = tiny.train.images[:4]
    with torch.no_grad():
        truth, grey, _ = make_method().eval().panels(make_batch(images))
    assert torch.equal(truth.images, images)
    torch.testing.assert_close(rgb_to_lab(grey.images)[:, 0], rgb_to_lab(images)[:, 0], atol=0.1, rtol=0)
    assert rgb_to_lab(grey.images)[:, 1:].abs().max() < 0.1
