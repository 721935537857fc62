"""CPC: patches and frames, the context, and InfoNCE of later parts."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._context import ContextNetwork
from sslbench.methods._frames import draw_frames
from sslbench.methods._patch_pictures import GREEN
from sslbench.methods._patches import cut_overlapping_patches
from sslbench.methods.cpc import CPC

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> CPC:
    torch.manual_seed(0)
    return CPC(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5, "length": 3, "steps": 2} | settings)


def make_batch(data: Dataset, N: int = 3) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


@pytest.mark.parametrize("negatives", [None, 4])
def test_the_loss_matches_a_loop(negatives: int | None, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equation 4 for every step k and every part that has a part k steps later, with the method's own W_k c_t."""
    method = make_method(negatives=negatives).eval()
    parts = method.cut_parts(make_batch(tiny))
    monkeypatch.setattr(method, "cut_parts", lambda _: parts)
    draws: list[Tensor] = []
    randperm = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: draws.append(randperm(*a, **k)) or draws[-1])
    loss = method.loss(make_batch(tiny))
    others = draws[0].tolist()[:negatives]

    places = list(itertools.product(range(3), range(3), range(3)))  # image, row, column
    z = {place: method.encoder(parts[place].unsqueeze(0))[0] for place in places}
    c = method.predictor.context(torch.stack([z[place] for place in places]).view(3, 3, 3, -1))
    terms, right, bounds = [], [], []
    for k in (1, 2):
        for n, t, w in places:
            if t + k > 2:
                continue
            prediction = method.predictor.ahead[k - 1](c[n, t, w]).tolist()
            true = (n, t + k, w)
            candidates = [true, *(places[i] for i in others if places[i] != true)]
            scores = [sum(a * b for a, b in zip(prediction, z[place].tolist(), strict=True)) for place in candidates]
            terms.append(math.log(sum(math.exp(s) for s in scores)) - scores[0])
            right.append(scores[0] > max(scores[1:]))
            bounds.append(math.log(len(candidates)) - terms[-1])
    assert len(terms) == 3 * (6 + 3)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / len(right), abs=0.04)
    assert method.logged["bound"].item() == pytest.approx(sum(bounds) / len(bounds), abs=1e-3)


def test_a_context_does_not_depend_on_later_steps() -> None:
    """c_t depends on everything in its own and earlier steps, and on nothing later."""
    torch.manual_seed(0)
    for length, W in ((7, 7), (8, 1)):
        context = ContextNetwork(4, 6, length=length, wide=W > 1)
        z = torch.randn(1, length, W, 4)
        before = context(z)
        for t in range(length):
            other = z.clone()
            other[:, t] += 1
            changed = (context(other) - before).abs().amax((0, 2, 3)) > 1e-6
            assert changed.tolist() == [step >= t for step in range(length)]


def test_patches_overlap() -> None:
    """Each patch has the width of two strides less a random margin, and overlaps half of the next one."""
    S = 32
    rows = torch.arange(S, dtype=torch.float32).view(1, 1, S, 1).expand(200, 1, S, S)
    for images, step in ((rows, (1, 0)), (rows.transpose(2, 3), (0, 1))):
        patches = cut_overlapping_patches(images, 7, 1)
        assert patches.shape == (200, 7, 7, 1, 7, 7)
        corners = patches[..., 0, 0, 0]
        for i, j in itertools.product(range(7), repeat=2):
            start = 4 * (i * step[0] + j * step[1])
            assert corners[:, i, j].unique().tolist() == [start, start + 1]
        assert (patches[..., -1, -1] - patches[..., 0, 0] == 6).all()


@pytest.mark.parametrize("normalise", [False, True])
def test_normalised_parts_do_not_depend_on_brightness(normalise: bool, tiny: Dataset) -> None:
    """With ``normalise``, halving the brightness of a part does not change its embedding; without, it does."""
    method = make_method(normalise=normalise).eval()
    parts = method.cut_parts(make_batch(tiny))
    parts = parts + 0.5 * torch.rand_like(parts)  # a part of one colour has no spread to normalise
    bright, dark = method.embed(parts), method.embed(0.5 * parts)
    assert ((bright - dark).norm() < 0.1 * bright.norm()) == normalise


def test_a_grid_costs_its_pixels(tiny: Dataset) -> None:
    """The cost is relative to an image of 32 pixels: 49 patches of 7 pixels, or one image per frame."""
    method = make_method(length=7)
    assert method.view_size == 7
    assert method.cut_parts(make_batch(tiny)).shape == (3, 7, 7, 3, 7, 7)
    assert method.views_per_image == pytest.approx(49 * 49 / 1024)
    frames = make_method(sequence="frames", length=4)
    assert frames.views_per_image == 4
    assert frames.view_size == 32


def test_frames_are_in_order(tiny: Dataset) -> None:
    """Frames are in order from a random start per clip, and all frames of a clip are cropped and mirrored alike."""
    assert tiny.train.clips is not None
    clips = tiny.train.clips[:4]
    starts = set()
    for _ in range(20):
        frames = draw_frames(clips, 3, stride=2)
        for clip, draws in zip(clips, frames, strict=True):
            at = [next(t for t in range(8) if torch.equal(clip[t], frame)) for frame in draws]
            assert at == [at[0], at[0] + 2, at[0] + 4]
            starts.add(at[0])
    assert starts == {0, 1, 2, 3}
    method = make_method(sequence="frames", grey=0.0)
    still = clips[:, :1].expand(-1, 8, -1, -1, -1)
    parts = method.cut_parts(Batch(images=clips[:, 0], indices=torch.arange(4), clips=still))
    assert parts.shape == (4, 3, 1, 3, 32, 32)
    torch.testing.assert_close(parts[:, 0], parts[:, 2])


def test_clips_that_are_too_short_are_refused(tiny: Dataset) -> None:
    """A sequence longer than the clips is an error that names the largest possible length."""
    assert tiny.train.clips is not None
    method = make_method(sequence="frames", length=9)
    with pytest.raises(UserError, match=r"cpc\.length = 9: it must be at most 8, the frames of a clip\."):
        method.loss(Batch(images=tiny.train.images[:2], indices=torch.arange(2), clips=tiny.train.clips[:2]))


@pytest.mark.parametrize(("settings", "name"), [({"length": 3, "steps": 3}, "steps"), ({"length": 32}, "length")])
def test_lengths_that_do_not_fit_are_refused(settings: dict[str, int], name: str) -> None:
    """There must be a later part to predict, and a row of patches must be at least a pixel high."""
    with pytest.raises(UserError, match=rf"cpc\.{name} = "):
        make_method(**settings)


@pytest.mark.parametrize("sequence", ["rows", "frames"])
def test_the_true_part_is_marked(sequence: str, tiny: Dataset) -> None:
    """If the true part is among those shown, it has a green border; no other part has one."""
    assert tiny.train.clips is not None
    method = make_method(sequence=sequence).eval()
    shown = Batch(images=tiny.train.images[:4], indices=torch.arange(4), clips=tiny.train.clips[:4])
    with torch.no_grad():
        _, _, ranked = method.panels(shown)
    green = torch.tensor(GREEN).view(3, 1, 1)
    total = 4 * (9 if sequence == "rows" else 3)
    for image, caption in zip(ranked.images, ranked.captions, strict=True):
        rank = int(caption.removeprefix("true part: rank ").split()[0])
        assert caption.endswith(f" of {total}")
        corners = (image[:, :: image.shape[1] // 2, :: image.shape[2] // 4] == green).all(0).flatten()
        assert corners.nonzero().flatten().tolist() == ([rank - 1] if rank <= 8 else [])
