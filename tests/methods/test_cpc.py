"""CPC: overlapping patches and frames, what a context may have read, and InfoNCE of what comes later."""

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
    """Equation 4 for every step k and every part that has one k steps on, with W_k c_t from the method's own parts."""
    method = make_method(negatives=negatives).eval()
    parts = method.cut_parts(make_batch(tiny))
    monkeypatch.setattr(method, "parts", lambda _: parts)
    drawn: list[Tensor] = []
    randperm = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: drawn.append(randperm(*a, **k)) or drawn[-1])
    loss = method.loss(make_batch(tiny))
    others = drawn[0].tolist()[:negatives]

    places = list(itertools.product(range(3), range(3), range(3)))  # image, row, column
    z = {place: method.encoder(parts[place].unsqueeze(0))[0] for place in places}
    c = method.predictor.context(torch.stack([z[place] for place in places]).view(3, 3, 3, -1))
    terms, right, bounds = [], [], []
    for k in (1, 2):
        for n, t, w in places:
            if t + k > 2:
                continue
            said = method.predictor.ahead[k - 1](c[n, t, w]).tolist()
            true = (n, t + k, w)
            candidates = [true, *(places[i] for i in others if places[i] != true)]
            scores = [sum(a * b for a, b in zip(said, z[place].tolist(), strict=True)) for place in candidates]
            terms.append(math.log(sum(math.exp(s) for s in scores)) - scores[0])
            right.append(scores[0] > max(scores[1:]))
            bounds.append(math.log(len(candidates)) - terms[-1])
    assert len(terms) == 3 * (6 + 3)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / len(right), abs=0.04)
    assert method.logged["bound"].item() == pytest.approx(sum(bounds) / len(bounds), abs=1e-3)


def test_a_context_has_not_read_what_follows() -> None:
    """c_t changes with everything in its own step and before it, and with nothing after it."""
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
    """Each patch is two strides wide less its margin, lies within its window, and half over the next one's."""
    S = 32
    rows = torch.arange(S, dtype=torch.float32).view(1, 1, S, 1).expand(200, 1, S, S)
    for picture, step in ((rows, (1, 0)), (rows.transpose(2, 3), (0, 1))):
        patches = cut_overlapping_patches(picture, 7, 1)
        assert patches.shape == (200, 7, 7, 1, 7, 7)
        corners = patches[..., 0, 0, 0]
        for i, j in itertools.product(range(7), repeat=2):
            start = 4 * (i * step[0] + j * step[1])
            assert corners[:, i, j].unique().tolist() == [start, start + 1]
        assert (patches[..., -1, -1] - patches[..., 0, 0] == 6).all()


@pytest.mark.parametrize("normalise", [False, True])
def test_normalised_parts_are_not_told_by_their_light(normalise: bool, tiny: Dataset) -> None:
    """Brought to one mean and spread, a part has the embedding it has in half the light; as it is, it has not."""
    method = make_method(normalise=normalise).eval()
    parts = method.cut_parts(make_batch(tiny))
    parts = parts + 0.5 * torch.rand_like(parts)  # a plain part has no spread to bring to another
    bright, dim = method.embed(parts), method.embed(0.5 * parts)
    assert ((bright - dim).norm() < 0.1 * bright.norm()) == normalise


def test_a_grid_costs_its_pixels(tiny: Dataset) -> None:
    """49 patches of 7 pixels are so many pictures of 32; each frame of a clip is one."""
    method = make_method(length=7)
    assert method.view_size == 7
    assert method.cut_parts(make_batch(tiny)).shape == (3, 7, 7, 3, 7, 7)
    assert method.views_per_image == pytest.approx(49 * 49 / 1024)
    frames = make_method(sequence="frames", length=4)
    assert frames.views_per_image == 4
    assert frames.view_size == 32


def test_frames_are_a_clip_s_in_order(tiny: Dataset) -> None:
    """Frames follow each other, cropped and mirrored alike, from a start of each clip's own."""
    assert tiny.train.clips is not None
    clips = tiny.train.clips[:4]
    starts = set()
    for _ in range(20):
        frames = draw_frames(clips, 3, stride=2)
        for clip, drawn in zip(clips, frames, strict=True):
            at = [next(t for t in range(8) if torch.equal(clip[t], frame)) for frame in drawn]
            assert at == [at[0], at[0] + 2, at[0] + 4]
            starts.add(at[0])
    assert starts == {0, 1, 2, 3}
    method = make_method(sequence="frames", grey=0.0)
    still = clips[:, :1].expand(-1, 8, -1, -1, -1)
    parts = method.cut_parts(Batch(images=clips[:, 0], indices=torch.arange(4), clips=still))
    assert parts.shape == (4, 3, 1, 3, 32, 32)
    torch.testing.assert_close(parts[:, 0], parts[:, 2])


def test_clips_that_are_too_short_are_refused(tiny: Dataset) -> None:
    """A sequence longer than the clips is told, with what would do."""
    assert tiny.train.clips is not None
    method = make_method(sequence="frames", length=9)
    with pytest.raises(UserError, match=r"cpc\.length = 9: clips have 8 frames; lower it to 8\."):
        method.loss(Batch(images=tiny.train.images[:2], indices=torch.arange(2), clips=tiny.train.clips[:2]))


@pytest.mark.parametrize("sequence", ["rows", "frames"])
def test_the_true_part_is_marked(sequence: str, tiny: Dataset) -> None:
    """Where the caption counts the true part among those shown, it has a green border, and nowhere else."""
    assert tiny.train.clips is not None
    method = make_method(sequence=sequence).eval()
    shown = Batch(images=tiny.train.images[:4], indices=torch.arange(4), clips=tiny.train.clips[:4])
    with torch.no_grad():
        _, _, ranked = method.panels(shown)
    green = torch.tensor(GREEN).view(3, 1, 1)
    total = 4 * (9 if sequence == "rows" else 3)
    for image, caption in zip(ranked.images, ranked.captions, strict=True):
        place = int(caption.removeprefix("the true one is no. ").split()[0])
        assert caption.endswith(f" of {total}")
        corners = (image[:, :: image.shape[1] // 2, :: image.shape[2] // 4] == green).all(0).flatten()
        assert corners.nonzero().flatten().tolist() == ([place - 1] if place <= 8 else [])
