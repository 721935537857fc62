"""Split-brain autoencoder: the losses of both directions, and that the halves are independent."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders._input_mode import HalvesEncoder, encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import random_resized_crops
from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._quarter import average_to_quarter
from sslbench.methods.split_brain import SplitBrain

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: object) -> SplitBrain:
    """The method with two narrow halves, and with heads whose outputs are large enough to show an error."""
    torch.manual_seed(0)
    method = SplitBrain(
        encoder_for_input_mode(ConvNet, SplitBrain.input_mode, 32, {"width": 8}), TRAIN_INFO, **settings
    )  # type: ignore[arg-type]
    for head in (method.chroma_head, method.lightness_head):
        torch.nn.init.normal_(head.answer.weight)
    return method


def make_batch(images: Tensor) -> Batch:
    return Batch(images=images, indices=torch.arange(len(images)))


def nats(logits: list[float], target: dict[int, float]) -> float:
    """Cross-entropy of one pixel from its definition."""
    log_sum = max(logits) + math.log(sum(math.exp(z - max(logits)) for z in logits))
    return -sum(share * (logits[q] - log_sum) for q, share in target.items())


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is the sum of two mean cross-entropies: of soft targets over five bins of a*b*, and of the step of L*."""
    method = make_method(lightness_bins=20).eval()
    images = tiny.train.images[:2]
    torch.manual_seed(1)
    loss = method.loss(make_batch(images))
    torch.manual_seed(1)
    views = random_resized_crops(images, scale=(method.crop, 1.0), flip=method.flip)
    truth, (chroma, lightness) = rgb_to_lab(average_to_quarter(views)), method.predict(views)
    bins = method.gamut.bins.tolist()
    of_chroma, of_lightness = [], []
    for n, y, x in ((n, y, x) for n in range(2) for y in range(8) for x in range(8)):
        L, a, b = truth[n, :, y, x].tolist()
        squares = [(a - p) ** 2 + (b - q) ** 2 for p, q in bins]
        code = {q: math.exp(-squares[q] / 50) for q in sorted(range(len(bins)), key=squares.__getitem__)[:5]}
        of_chroma.append(nats(chroma[n, :, y, x].tolist(), {q: z / sum(code.values()) for q, z in code.items()}))
        of_lightness.append(nats(lightness[n, :, y, x].tolist(), {min(int(L / 5), 19): 1.0}))
    assert method.logged["chroma"].item() == pytest.approx(sum(of_chroma) / 128, rel=1e-3)
    assert method.logged["lightness"].item() == pytest.approx(sum(of_lightness) / 128, rel=1e-3)
    assert loss.item() == pytest.approx((sum(of_chroma) + sum(of_lightness)) / 128, rel=1e-3)


def test_no_half_gets_what_it_predicts() -> None:
    """Changing the colours does not change the predicted colours, nor does lightness change predicted lightness."""
    method = make_method().eval()
    torch.manual_seed(2)
    L = 45 + 10 * torch.rand(2, 3, 1, 32, 32)
    ab = 15 * torch.randn(2, 3, 2, 32, 32).clamp(-1, 1)
    picture, recoloured, relit = (lab_to_rgb(torch.cat([L[i], ab[j]], dim=1)) for i, j in ((0, 0), (0, 1), (1, 0)))
    (chroma, lightness), other_colours, other_light = (method.predict(p) for p in (picture, recoloured, relit))
    for same, other, answers in (
        (other_colours[0], other_light[0], chroma),
        (other_light[1], other_colours[1], lightness),
    ):
        assert (same - answers).abs().max() < 0.01 * (other - answers).abs().max()


@pytest.mark.parametrize("target", ["classes", "regression"])
def test_the_directions_share_no_weights(tiny: Dataset, target: str) -> None:
    """The gradient of one head's outputs reaches one half of the encoder and no weight of the other half."""
    method = make_method(target=target)
    assert isinstance(method.encoder, HalvesEncoder)
    halves = method.encoder.lightness, method.encoder.chroma  # whose answers are of chroma, of lightness
    for direction in (0, 1):
        method.zero_grad()
        method.predict(tiny.train.images[:4])[direction].square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in halves[direction].parameters() if p.ndim > 1)
        assert not any(p.grad is not None and p.grad.any() for p in halves[1 - direction].parameters())


def test_regression_is_the_squared_error_of_both(tiny: Dataset) -> None:
    """``target="regression"`` sums the mean squared errors of scaled a*b* and of L* / 100."""
    method = make_method(target="regression").eval()
    images = tiny.train.images[:2]
    torch.manual_seed(3)
    loss = method.loss(make_batch(images))
    torch.manual_seed(3)
    views = random_resized_crops(images, scale=(method.crop, 1.0), flip=method.flip)
    truth, (chroma, lightness) = rgb_to_lab(average_to_quarter(views)), method.predict(views)
    assert (chroma.shape, lightness.shape) == ((2, 2, 8, 8), (2, 1, 8, 8))
    of_chroma, of_lightness = 0.0, 0.0
    for n, y, x in ((n, y, x) for n in range(2) for y in range(8) for x in range(8)):
        L, a, b = truth[n, :, y, x].tolist()
        p, q = chroma[n, :, y, x].tolist()
        of_chroma += ((p - a / 110) ** 2 + (q - b / 110) ** 2) / 2
        of_lightness += (lightness[n, 0, y, x].item() - L / 100) ** 2
    assert loss.item() == pytest.approx((of_chroma + of_lightness) / 128, rel=1e-4)


def test_predictions_are_colours(tiny: Dataset) -> None:
    """Certain classes are decoded to their L* and a*b*, and regression outputs are scaled back."""
    for target in ("classes", "regression"):
        method = make_method(target=target, lightness_bins=10).eval()
        for head in (method.chroma_head, method.lightness_head):
            torch.nn.init.zeros_(head.answer.weight)
            torch.nn.init.zeros_(head.answer.bias)  # type: ignore[arg-type]
        if target == "classes":
            method.chroma_head.answer.bias.data[7] = 50.0  # type: ignore[union-attr]
            method.lightness_head.answer.bias.data[3] = 50.0  # type: ignore[union-attr]
            expected = 35.0, method.gamut.bins[7]
        else:
            method.chroma_head.answer.bias.data.copy_(torch.tensor([0.1, -0.2]))  # type: ignore[union-attr]
            method.lightness_head.answer.bias.data[0] = 0.6  # type: ignore[union-attr]
            expected = 60.0, torch.tensor([11.0, -22.0])
        with torch.no_grad():
            L, ab = method.predict_colours(tiny.train.images[:2])
        torch.testing.assert_close(L, torch.full((2, 1, 32, 32), expected[0]))
        torch.testing.assert_close(ab, expected[1].view(1, 2, 1, 1).expand(2, 2, 32, 32))
