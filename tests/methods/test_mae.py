"""Masked autoencoder: what is hidden, what the encoder sees, what is painted, and what it costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.vit import ViT
from sslbench.bench.errors import UserError
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import mae
from sslbench.methods.mae import MAE

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(*, patch: int = 8, **settings: Any) -> MAE:
    """16 patches of 8 pixels, 4 of them visible."""
    torch.manual_seed(0)
    encoder = ViT(32, patch=patch, width=8, heads=2)
    return MAE(encoder, TRAIN_INFO, **{"width": 8, "depth": 1, "heads": 2} | settings)


def make_batch(data: Dataset, N: int = 3) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_matches_a_loop(normalise: bool, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The squared error of hidden patches alone, each brought to mean 0 and variance 1 by itself, or as it is."""
    method = make_method(normalise=normalise)
    images = tiny.train.images[:3].float() / 255
    monkeypatch.setattr(mae.augment, "random_resized_crops", lambda images, **_: images.float() / 255)
    torch.manual_seed(5)
    loss = method.loss(make_batch(tiny))
    torch.manual_seed(5)
    painted, hidden = method.reconstruct(images)

    def asked(n: int, place: int) -> list[float]:
        row, column = divmod(place, 4)
        square = images[n, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten().tolist()
        if not normalise:
            return square
        mean = sum(square) / len(square)
        variance = sum((x - mean) ** 2 for x in square) / (len(square) - 1)
        return [(x - mean) / math.sqrt(variance + 1e-6) for x in square]

    errors = []
    for n in range(3):
        assert hidden[n].sum() == 12
        for place in range(16):
            if hidden[n, place]:
                said = painted[n, place].tolist()
                errors += [(p - q) ** 2 for p, q in zip(said, asked(n, place), strict=True)]
    assert len(errors) == 3 * 12 * 192
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-3)


def test_the_encoder_sees_the_visible_patches_alone(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the tokens goes through the encoder; hidden pixels change nothing that is painted."""
    method = make_method().eval()
    seen: list[Tensor] = []
    encoded = method.encoder.encoded

    def recorded(tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return encoded(tokens)

    monkeypatch.setattr(method.encoder, "encoded", recorded)
    images = tiny.train.images[:2].float() / 255
    torch.manual_seed(5)
    painted, hidden = method.reconstruct(images)
    assert seen[0].shape == (2, 4, 8)
    gone = method.join_patches(hidden.unsqueeze(2).expand(-1, -1, 192).float()) > 0
    torch.manual_seed(5)
    again, _ = method.reconstruct(torch.where(gone, 0.3, images))
    torch.testing.assert_close(again, painted)
    torch.manual_seed(5)
    other, _ = method.reconstruct(torch.where(gone, images, 0.3))
    assert not torch.allclose(other, painted, atol=1e-4)


def test_the_decoder_puts_each_token_in_its_place(tiny: Dataset) -> None:
    """What is painted of a patch is what a decoder of a visible and a mask token by name would paint."""
    method = make_method().eval()
    images = tiny.train.images[:2].float() / 255
    torch.manual_seed(5)
    painted, hidden = method.reconstruct(images)
    places = mae.build_sincos2d_pos_embed([4, 4], 8)
    for n in range(2):
        visible = [place for place in range(16) if not hidden[n, place]]
        codes = method.decoder_input(
            method.encoder.encode_tokens(method.encoder.patch_tokens(images[n : n + 1])[:, visible])
        )[0]
        rows = [codes[visible.index(p)] if p in visible else method.mask_token for p in range(16)]
        whole = torch.stack([row + place for row, place in zip(rows, places, strict=True)])
        torch.testing.assert_close(
            method.decoder_output(method.decoder(whole.unsqueeze(0)))[0], painted[n], atol=1e-4, rtol=1e-3
        )


def test_each_image_has_a_mask_of_its_own(tiny: Dataset) -> None:
    """Masks are drawn per image, and every patch is hidden as often as any other."""
    method = make_method(patch=16)
    _, hidden = method.reconstruct(torch.zeros(400, 3, 32, 32))
    assert len(hidden.unique(dim=0)) == 4
    assert hidden.float().mean(0).tolist() == pytest.approx([0.75] * 4, abs=0.08)


@pytest.mark.parametrize(("patch", "mask", "share"), [(4, 0.75, 1 / 4), (8, 0.5, 1 / 2), (16, 0.99, 1 / 4)])
def test_a_view_costs_its_visible_share(patch: int, mask: float, share: float) -> None:
    """An image counts as the part of it that the encoder is given; at least one patch is visible."""
    assert make_method(patch=patch, mask=mask).views_per_image == pytest.approx(share)


def test_an_image_of_one_patch_is_refused() -> None:
    """Where there is nothing beside what is hidden, the mistake is told."""
    with pytest.raises(UserError, match=r"vit\.patch = 32"):
        make_method(patch=32)


def test_patches_and_pictures_are_inverse(tiny: Dataset) -> None:
    """Values, brought back to each patch's mean and spread and put together, are the picture."""
    method = make_method()
    images = tiny.train.images[:2].float() / 255
    values, mean, spread = method.patch_targets(images)
    torch.testing.assert_close(method.join_patches(values * spread + mean), images, atol=1e-4, rtol=1e-3)


def test_what_is_shown(tiny: Dataset) -> None:
    """Hidden patches are grey in the first picture; visible ones are the picture's own in the second."""
    with torch.no_grad():
        masked, painted, image = make_method().eval().panels(make_batch(tiny))
    whole = image.images.float() / 255
    grey = (masked.images - 0.5).abs().amax(1, keepdim=True) < 1e-6
    assert grey.float().mean() >= 0.75
    torch.testing.assert_close(torch.where(grey, whole, masked.images), whole, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.where(grey, whole, painted.images), whole, atol=1e-3, rtol=1e-3)
    assert all(caption.endswith(" dB") for caption in painted.captions)
