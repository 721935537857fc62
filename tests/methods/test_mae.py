"""Masked autoencoder: which patches are hidden, what the encoder sees, the loss, and the cost."""

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
    """A method with 16 patches of 8 pixels, 4 of them visible."""
    torch.manual_seed(0)
    encoder = ViT(32, patch=patch, width=8, heads=2)
    return MAE(encoder, TRAIN_INFO, **{"width": 8, "depth": 1, "heads": 2} | settings)


def make_batch(data: Dataset, N: int = 3) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_matches_a_loop(normalise: bool, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The squared error of hidden patches only, each normalised to mean 0 and variance 1, or not."""
    method = make_method(normalise=normalise)
    images = tiny.train.images[:3].float() / 255
    monkeypatch.setattr(mae.augment, "random_resized_crops", lambda images, **_: images.float() / 255)
    torch.manual_seed(5)
    loss = method.loss(make_batch(tiny))
    torch.manual_seed(5)
    predictions, hidden = method.reconstruct(images)

    def target_values(n: int, place: int) -> list[float]:
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
                predicted = predictions[n, place].tolist()
                errors += [(p - q) ** 2 for p, q in zip(predicted, target_values(n, place), strict=True)]
    assert len(errors) == 3 * 12 * 192
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-3)


def test_the_encoder_sees_the_visible_patches_alone(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the tokens enters the encoder; hidden pixels do not change the reconstruction."""
    method = make_method().eval()
    encoder_inputs: list[Tensor] = []
    encode_tokens = method.encoder.encode_tokens

    def recorded(tokens: Tensor) -> Tensor:
        encoder_inputs.append(tokens)
        return encode_tokens(tokens)

    monkeypatch.setattr(method.encoder, "encode_tokens", recorded)
    images = tiny.train.images[:2].float() / 255
    torch.manual_seed(5)
    predictions, hidden = method.reconstruct(images)
    assert encoder_inputs[0].shape == (2, 4, 8)
    gone = method.join_patches(hidden.unsqueeze(2).expand(-1, -1, 192).float()) > 0
    torch.manual_seed(5)
    again, _ = method.reconstruct(torch.where(gone, 0.3, images))
    torch.testing.assert_close(again, predictions)
    torch.manual_seed(5)
    other, _ = method.reconstruct(torch.where(gone, images, 0.3))
    assert not torch.allclose(other, predictions, atol=1e-4)


def test_the_decoder_puts_each_token_in_its_place(tiny: Dataset) -> None:
    """The decoder's input has the visible features in their places, and mask tokens in all others."""
    method = make_method().eval()
    images = tiny.train.images[:2].float() / 255
    torch.manual_seed(5)
    predictions, hidden = method.reconstruct(images)
    places = mae.build_sincos2d_pos_embed([4, 4], 8)
    for n in range(2):
        visible = [place for place in range(16) if not hidden[n, place]]
        codes = method.decoder_input(
            method.encoder.encode_tokens(method.encoder.patch_tokens(images[n : n + 1])[:, visible])
        )[0]
        rows = [codes[visible.index(p)] if p in visible else method.mask_token for p in range(16)]
        whole = torch.stack([row + place for row, place in zip(rows, places, strict=True)])
        torch.testing.assert_close(
            method.decoder_output(method.decoder(whole.unsqueeze(0)))[0], predictions[n], atol=1e-4, rtol=1e-3
        )


def test_each_image_has_its_own_mask(tiny: Dataset) -> None:
    """Masks are drawn per image, and all patches are hidden equally often."""
    method = make_method(patch=16)
    _, hidden = method.reconstruct(torch.zeros(400, 3, 32, 32))
    assert len(hidden.unique(dim=0)) == 4
    assert hidden.float().mean(0).tolist() == pytest.approx([0.75] * 4, abs=0.08)


@pytest.mark.parametrize(("patch", "mask", "share"), [(4, 0.75, 1 / 4), (8, 0.5, 1 / 2), (16, 0.99, 1 / 4)])
def test_a_view_costs_its_visible_share(patch: int, mask: float, share: float) -> None:
    """An image costs the share of patches that the encoder sees; at least one patch is visible."""
    assert make_method(patch=patch, mask=mask).views_per_image == pytest.approx(share)


def test_heads_must_divide_the_width() -> None:
    """Each attention head gets the same share of the width."""
    with pytest.raises(UserError, match=r"mae\.width = 8: it must be a multiple of mae\.heads, 3"):
        make_method(heads=3)


def test_an_image_of_one_patch_is_refused() -> None:
    """An image of a single patch leaves nothing visible, so it is refused."""
    with pytest.raises(UserError, match=r"vit\.patch = 32"):
        make_method(patch=32)


def test_targets_can_be_turned_back_into_images(tiny: Dataset) -> None:
    """Targets times each patch's standard deviation plus its mean, put together, are the image."""
    method = make_method()
    images = tiny.train.images[:2].float() / 255
    values, mean, spread = method.patch_targets(images)
    torch.testing.assert_close(method.join_patches(values * spread + mean), images, atol=1e-4, rtol=1e-3)


def test_the_panels_show_the_hidden_patches(tiny: Dataset) -> None:
    """Hidden patches are grey in the first panel; visible ones are unchanged in the second."""
    with torch.no_grad():
        masked, predictions, image = make_method().eval().panels(make_batch(tiny))
    whole = image.images.float() / 255
    grey = (masked.images - 0.5).abs().amax(1, keepdim=True) < 1e-6
    assert grey.float().mean() >= 0.75
    torch.testing.assert_close(torch.where(grey, whole, masked.images), whole, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.where(grey, whole, predictions.images), whole, atol=1e-3, rtol=1e-3)
    assert all(caption.endswith(" dB") for caption in predictions.captions)
