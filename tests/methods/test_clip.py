"""CLIP: the symmetric loss, the learned temperature, the caption encoder, and fewer negatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.augment import random_resized_crops
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._captions import END, CaptionEncoder, tokenise
from sslbench.methods.clip import CLIP

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)
TINY = {"dim": 5, "width": 8, "depth": 1, "heads": 2, "vocabulary": 64}


def make_method(**settings: Any) -> CLIP:
    torch.manual_seed(0)
    return CLIP(ConvNet(32, width=4), TRAIN_INFO, **TINY | settings)


def make_batch(data: Dataset, N: int = 4) -> Batch:
    assert data.train.captions is not None
    return Batch(images=data.train.images[:N], indices=torch.arange(N), captions=data.train.captions[:N])


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Among all N x N pairs, images must find their captions and captions their images, averaged (figure 3)."""
    method = make_method(temperature=0.05).eval()
    torch.manual_seed(1)
    loss = method.loss(make_batch(tiny))
    torch.manual_seed(1)
    views = random_resized_crops(tiny.train.images[:4], scale=(0.9, 1.0), ratio=(1.0, 1.0), flip=0.0)
    images, texts = [], []
    for n in range(4):
        for vectors, values in (
            (images, method.image_head(method.encoder(views[n : n + 1]))[0].tolist()),
            (texts, method.text_head(method.text_encoder([make_batch(tiny).captions[n]]))[0].tolist()),  # type: ignore[index]
        ):
            length = math.sqrt(sum(x * x for x in values))
            vectors.append([x / length for x in values])
    score = [[math.exp(sum(a * b for a, b in zip(i, t, strict=True)) / 0.05) for t in texts] for i in images]
    total = 0.0
    for n in range(4):
        total -= math.log(score[n][n] / sum(score[n])) / 2
        total -= math.log(score[n][n] / sum(score[m][n] for m in range(4))) / 2
    assert loss.item() == pytest.approx(total / 4, rel=1e-3)
    right = [max(range(4), key=score[n].__getitem__) == n for n in range(4)]
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 4)


def test_images_are_not_flipped(tiny: Dataset) -> None:
    """A view is never mirrored, because a caption may say "left"."""
    method = make_method(crop=1.0).eval()
    whole, views = make_batch(tiny), []
    method.encoder.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0]))
    method.loss(whole)
    torch.testing.assert_close(views[0], whole.images.float() / 255, atol=1e-4, rtol=0)


def test_the_temperature_is_learned_and_limited(tiny: Dataset) -> None:
    """It starts at the setting, has a gradient, and never falls below 0.01."""
    method = make_method(temperature=0.07)
    method.loss(make_batch(tiny)).backward()
    assert method.logged["temperature"].item() == pytest.approx(0.07)
    assert method.log_scale.grad is not None
    assert method.log_scale.grad != 0
    with torch.no_grad():
        method.log_scale.fill_(9.0)
    method.after_step(0.5)
    assert method.log_scale.exp().item() == pytest.approx(100)


def test_fewer_negatives_are_easier(tiny: Dataset) -> None:
    """With ``negatives``, the bound shows that there are only so many candidates."""
    for negatives, candidates in ((None, 8), (1, 2), (3, 4), (99, 8)):
        method = make_method(negatives=negatives)
        method.eval().loss(make_batch(tiny, 8))
        bound = method.logged["bound"].item()
        assert bound <= math.log(candidates)
    assert make_method(negatives=1).loss(make_batch(tiny, 8)) < make_method().loss(make_batch(tiny, 8))


def test_words_are_numbers() -> None:
    """A word has the same number everywhere, in capitals too; punctuation marks are words; no word is 0 or 1."""
    a, red, car, comma, again, _ = tokenise("A red car, red bus", 4096)
    assert red == again
    assert tokenise("a RED", 4096) == [a, red]
    assert len({a, red, car, comma}) == 4
    assert all(2 <= word_index < 7 for word_index in tokenise("all of these words must fit into five numbers", 7))


def test_a_caption_is_encoded_alone_and_in_order() -> None:
    """Other captions of the batch change nothing, the order of the words does, and surplus words are cut off."""
    torch.manual_seed(0)
    encoder = CaptionEncoder(width=8, depth=2, heads=2, vocabulary=64, words=4)
    both = encoder(["a red car", "a house by a tree"])
    torch.testing.assert_close(both[0], encoder(["a red car"])[0])
    assert not torch.allclose(both[0], encoder(["red a car"])[0], atol=1e-3)
    assert torch.equal(both[1], encoder(["a house by a tree", "a house by a"])[1])
    assert encoder([""]).shape == (1, 8)
    assert END not in tokenise("a red car", 64)


def test_heads_must_divide_the_width() -> None:
    """Each attention head gets the same share of the width."""
    with pytest.raises(UserError, match=r"clip\.width = 8: it must be a multiple of clip\.heads, 3"):
        make_method(heads=3)


def test_the_panels_show_matches(tiny: Dataset) -> None:
    """The panels show the image with its caption, the most probable caption, and the image of that caption."""
    shown = make_batch(tiny, 6)
    with torch.no_grad():
        own, likeliest, meant = make_method().eval().panels(shown)
    assert shown.captions is not None
    assert own.captions == shown.captions
    for image, caption in zip(likeliest.images, likeliest.captions, strict=True):
        text, share = caption.splitlines()
        assert any(torch.equal(image, shown.images[n]) for n in range(6) if shown.captions[n] == text)
        assert share.endswith("%")
    assert all(any(torch.equal(image, other) for other in shown.images) for image in meant.images)
