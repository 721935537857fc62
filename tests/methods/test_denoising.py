"""Denoising: what each noise does, the loss, and the weights of corrupted and intact elements."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods.denoising import Denoising, corrupt_images

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> Denoising:
    torch.manual_seed(0)
    return Denoising(ConvNet(32, width=4), TRAIN_INFO, **settings).eval()


@pytest.mark.parametrize("noise", ["masking", "salt_pepper"])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.25, 1.0])
def test_a_fixed_share_of_each_image_is_replaced(noise: str, level: float) -> None:
    """Exactly that share of each image's elements is replaced, at random places; the others stay."""
    torch.manual_seed(0)
    images = torch.rand(6, 3, 16, 16) * 0.8 + 0.1
    noisy, touched = corrupt_images(images, noise, level)
    assert (touched.sum((1, 2, 3)) == round(level * 768)).all()
    assert torch.equal(noisy[~touched], images[~touched])
    assert set(noisy[touched].unique().tolist()) <= ({0.0} if noise == "masking" else {0.0, 1.0})
    if 0 < level < 1:
        assert len(touched.flatten(1).unique(dim=0)) == 6
        assert touched.any(1).sum() > touched.all(1).sum()  # elements, not pixels


def test_salt_is_as_frequent_as_pepper() -> None:
    """An element becomes the smallest or the largest value with equal probability."""
    torch.manual_seed(0)
    noisy, touched = corrupt_images(torch.full((20, 3, 32, 32), 0.5), "salt_pepper", 0.5)
    assert noisy[touched].mean().item() == pytest.approx(0.5, abs=0.01)


def test_gaussian_noise_has_its_sigma() -> None:
    """It is x + N(0, sigma^2 I), not clipped, and every element counts as corrupted."""
    torch.manual_seed(0)
    images = torch.rand(20, 3, 32, 32)
    noisy, touched = corrupt_images(images, "gaussian", 0.3)
    assert touched.all()
    assert (noisy - images).std().item() == pytest.approx(0.3, rel=0.02)
    assert (noisy - images).mean().abs() < 0.005
    assert noisy.min() < 0


def test_without_noise_it_is_an_autoencoder() -> None:
    """``none`` corrupts nothing; then a weight of 0 for intact elements would leave no loss and is refused."""
    images = torch.rand(2, 3, 8, 8)
    noisy, touched = corrupt_images(images, "none", 0.25)
    assert torch.equal(noisy, images)
    assert not touched.any()
    with pytest.raises(UserError, match=r"^denoising.beta = 0"):
        make_method(noise="none", beta=0)


@pytest.mark.parametrize(
    ("noise", "reconstruction"), [("masking", "bce"), ("salt_pepper", "mse"), ("gaussian", "mse"), ("none", "bce")]
)
def test_the_loss_matches_a_loop(noise: str, reconstruction: str, tiny: Dataset) -> None:
    """The mean over elements of alpha or beta times the error against the clean image."""
    method = make_method(noise=noise, reconstruction=reconstruction, level=0.3, alpha=2.0, beta=0.5)
    images = tiny.train.images[:2]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(2)))
    torch.manual_seed(1)
    noisy, touched = corrupt_images(images.float() / 255, noise, 0.3)
    outputs = method.decoder(method.encoder.last_features(noisy)).flatten().tolist()
    terms, squares = [], []
    for value, output, hit in zip(images.flatten().tolist(), outputs, touched.flatten().tolist(), strict=True):
        x, weight = value / 255, 2.0 if hit else 0.5
        if reconstruction == "bce":
            z = 1 / (1 + math.exp(-output))
            terms.append(-weight * (x * math.log(z) + (1 - x) * math.log(1 - z)))
        else:
            z = min(max(output, 0), 1)
            terms.append(weight * (x - output) ** 2)
        squares.append((x - z) ** 2)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert method.logged["psnr"].item() == pytest.approx(-10 * math.log10(sum(squares) / len(squares)), rel=1e-4)


def test_with_beta_zero_intact_elements_do_not_count(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``beta=0``, copying the corrupted image costs the error of the corrupted elements only."""
    method = make_method(reconstruction="mse", beta=0.0)
    images = tiny.train.images[:3]
    encoder_inputs: list[torch.Tensor] = []
    monkeypatch.setattr(
        method.encoder, "features", lambda noisy, taps: encoder_inputs.append(noisy) or {taps[0]: noisy}
    )
    monkeypatch.setattr(method.decoder, "forward", lambda maps: maps)
    loss = method.loss(Batch(images=images, indices=torch.arange(3)))
    clean, total = images.float() / 255, 0.0
    for n, c, y, x in itertools.product(range(3), range(3), range(32), range(32)):
        if encoder_inputs[0][n, c, y, x] == 0:
            total += clean[n, c, y, x].item() ** 2
    assert loss.item() == pytest.approx(total / clean.numel(), rel=1e-4)
    assert loss > 0


def test_the_encoder_sees_the_noise_and_the_target_is_clean(tiny: Dataset) -> None:
    """The middle panel is what the encoder sees; the decibels are those of each panel's own image."""
    method = make_method()
    clean, noisy, restored = method.panels(Batch(images=tiny.train.images[:4], indices=torch.arange(4)))
    assert torch.equal(clean.images, tiny.train.images[:4])
    assert ((noisy.images == 0).flatten(1).sum(1) >= 768).all()
    for panel in (noisy, restored):
        error = (panel.images[1] - clean.images[1].float() / 255).square().mean().item()
        assert panel.captions[1] == f"{-10 * math.log10(error):.1f} dB"
