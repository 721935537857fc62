"""Tracking: what is found to move, whether it is followed, and how pairs are ranked."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset, Split
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import colour_jitter
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._tracks import box_means, cut_windows, outline_windows, match_scores, motion_energy, cut_track_ends, track_windows
from sslbench.methods.tracking import Tracking

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)


@pytest.fixture(scope="module")
def filmed(session_cache: None) -> Split:
    """40 clips with their masks."""
    return Synthetic(train=400, test=10).load(frozenset({"clips", "masks"})).train


def built(**settings: float) -> Tracking:
    torch.manual_seed(0)
    return Tracking(ConvNet(32, width=4), FACTS, **{"hidden": 8, "dim": 5} | settings)  # type: ignore[arg-type]


def make_batch(clips: Tensor) -> Batch:
    return Batch(images=clips[:, 0], indices=torch.arange(len(clips)), clips=clips)


def moving_squares(ways: list[tuple[int, int]], pan: tuple[int, int] = (0, 0), frames: int = 4) -> Tensor:
    """A clip for each way: a textured square of 8 pixels that goes it from (12, 12) over noise that goes ``pan``."""
    torch.manual_seed(3)
    clips = []
    for down, right in ways:
        wide, square = 0.3 * torch.rand(3, 64, 64), 0.5 + 0.5 * torch.rand(3, 8, 8)
        clip = []
        for t in range(frames):
            frame = wide[:, 16 - t * pan[0] :, 16 - t * pan[1] :][:, :32, :32].clone()
            top, left = 12 + t * down, 12 + t * right
            frame[:, top : top + 8, left : left + 8] = square
            clip.append(frame)
        clips.append(torch.stack(clip))
    return torch.stack(clips)


def test_a_moving_square_is_followed() -> None:
    """The window begins on the square and takes its every step, in its own direction in each clip."""
    ways = [(2, 1), (-2, 0), (1, -2), (0, 2)]
    corners = track_windows(moving_squares(ways), 12 / 32, 0.001) * 32
    for n, (down, right) in enumerate(ways):
        top, left = corners[n, 0].tolist()
        assert top <= 12 <= 20 <= top + 12 + abs(down)
        assert left <= 12 <= 20 <= left + 12 + abs(right)
        assert corners[n].tolist() == [[top + t * down, left + t * right] for t in range(4)]


def test_the_camera_s_own_motion_does_not_count() -> None:
    """Panning changes every pixel; undone, what remains is the square that goes another way."""
    clips = moving_squares([(0, 0), (-1, 1)], pan=(1, 2))
    energy = motion_energy(clips[:, 0], clips[:, 1])
    plain = (clips[:, 1] - clips[:, 0]).abs().mean(1)
    for n in range(2):
        assert plain[n].gt(0.02).float().mean() > 0.9
        ring = energy[n, 2:-2, 2:-2]
        assert (ring > 0.02).float().mean() < 0.3
        assert energy[n, 9:23, 9:23].sum() > 0.95 * ring.sum()


def test_patches_stay_on_their_object(filmed: Split) -> None:
    """What the middle of the window begins on it ends on, far more often than if it stood still or lay at random."""
    assert filmed.clips is not None
    assert filmed.masks is not None
    torch.manual_seed(0)
    corners = (track_windows(filmed.clips, 0.5, 0.1) * 32).round().long()
    N = len(corners)
    item = torch.arange(N)

    def thing(t: int, places: Tensor) -> Tensor:
        assert filmed.masks is not None
        return filmed.masks[item, t, places[:, 0] + 8, places[:, 1] + 8]

    began = thing(0, corners[:, 0])
    on = began > 0
    assert on.float().mean() > 0.5
    followed, stood, anywhere = (
        (thing(7, places) == began)[on].float().mean().item()
        for places in (corners[:, -1], corners[:, 0], torch.randint(17, (N, 2)))
    )
    assert followed > 0.75
    assert followed > stood + 0.25
    assert followed > anywhere + 0.25


def test_likeness_matches_a_loop() -> None:
    """Normalised cross-correlation of the first frame's window with each window of each frame."""
    torch.manual_seed(0)
    frames, corners, window = torch.rand(2, 3, 3, 7, 7), torch.tensor([[1, 3], [2, 0]]), 4
    likeness = match_scores(frames, corners, window)
    assert likeness.shape == (2, 3, 4, 4)
    for n, t, y, x in itertools.product(range(2), range(3), range(4), range(4)):
        top, left = corners[n].tolist()
        a = frames[n, 0, :, top : top + window, left : left + window]
        b = frames[n, t, :, y : y + window, x : x + window]
        a, b = a - a.mean(), b - b.mean()
        assert likeness[n, t, y, x].item() == pytest.approx(((a * b).sum() / (a.norm() * b.norm())).item(), abs=1e-4)
    for n in range(2):
        assert likeness[n, 0, corners[n, 0], corners[n, 1]].item() == pytest.approx(1, abs=1e-4)


def test_box_means_are_means() -> None:
    values = torch.rand(2, 5, 5)
    means = box_means(values, 3)
    assert means.shape == (2, 3, 3)
    assert means[1, 2, 0].item() == pytest.approx(values[1, 2:5, 0:3].mean().item())


def test_tracks_are_drawn_among_the_most_moving(filmed: Split) -> None:
    """One clip gives several tracks; with a small share always the same, that with the most motion."""
    assert filmed.clips is not None
    same = filmed.clips[:1].expand(40, -1, -1, -1, -1)
    torch.manual_seed(0)
    few, many = track_windows(same, 0.5, 0.001)[:, 0], track_windows(same, 0.5, 0.3)[:, 0]
    assert len(few.unique(dim=0)) == 1
    assert len(many.unique(dim=0)) > 10
    energy = box_means(motion_energy(same[:1, 0].float(), same[:1, 1].float()), 16)[0]
    top, left = divmod(int(energy.argmax()), 17)
    assert (few[0] * 32).tolist() == [top, left]


def test_larger_clips_are_tracked_coarsely(filmed: Split) -> None:
    """Clips of twice the size have the same tracks, and patches cut from all their pixels."""
    assert filmed.clips is not None
    small = filmed.clips[:6]
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.manual_seed(0)
    patches, corners = cut_track_ends(small, 0.5, 0.1)
    torch.manual_seed(0)
    larger, places = cut_track_ends(large, 0.5, 0.1)
    torch.testing.assert_close(places, corners)
    assert patches.shape == (2, 6, 3, 32, 32)
    assert larger.shape == (2, 6, 3, 64, 64)


def test_patches_are_what_the_window_shows() -> None:
    """A window of half the side, enlarged to the whole: each of its pixels becomes four."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    patches = cut_windows(images, torch.tensor([[0.25, 0.5], [0.0, 0.125]]), 0.5)
    for n, (top, left) in enumerate(((2, 4), (0, 1))):
        inside = torch.nn.functional.interpolate(
            images[n : n + 1, :, top : top + 4, left : left + 4], scale_factor=2, mode="bilinear"
        )
        torch.testing.assert_close(patches[n, :, 1:-1, 1:-1], inside[0, :, 1:-1, 1:-1])


def test_frames_are_drawn_around_the_window() -> None:
    """A border of one pixel, red, and nothing else is changed."""
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    drawn = outline_windows(images, torch.tensor([[0.25, 0.375]]), 0.5)
    red = [(y, x) for y in range(2, 6) for x in range(3, 7) if y in (2, 5) or x in (3, 6)]
    assert drawn[0, 0].nonzero().tolist() == [list(place) for place in red]
    assert drawn[:, 1:].sum() == 0


@pytest.mark.parametrize("mining", [False, True])
def test_the_loss_matches_a_loop(filmed: Split, mining: bool) -> None:
    """A pair is ranked against its K negatives: random ones at first, and later the nearest."""
    assert filmed.clips is not None
    method = built(margin=0.3, negatives=2, jitter=0.5).eval()
    for parameter in method.head.parameters():
        torch.nn.init.normal_(parameter)  # so that distances lie far apart
    method.after_step(0.6 if mining else 0.4)
    clips = filmed.clips[:6]
    torch.manual_seed(1)
    loss = method.loss(make_batch(clips))
    torch.manual_seed(1)
    patches, _ = cut_track_ends(clips, 0.5, 0.1)
    views = colour_jitter(patches.flatten(0, 1), jitter=0.5, grey=0.0)
    drawn = torch.rand(6, 6).tolist()
    embeddings = [method.head(method.encoder(view.unsqueeze(0)))[0].tolist() for view in views]

    def distance(a: list[float], b: list[float]) -> float:
        along = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - along / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    terms, right = [], []
    for n in range(6):
        away = [distance(embeddings[n], embeddings[6 + m]) for m in range(6)]
        others = [m for m in range(6) if m != n]
        chosen = sorted(others, key=away.__getitem__ if mining else lambda m, n=n: -drawn[n][m])[:2]
        terms += [max(0.0, away[n] - away[m] + 0.3) for m in chosen]
        right.append(all(away[n] < away[m] for m in others))
    assert len(set(terms)) > 5
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 6)


def test_a_clip_is_no_negative_of_itself(filmed: Split) -> None:
    """Where a batch holds one clip several times, only others count; alone, there is nothing to rank."""
    assert filmed.clips is not None
    method = built(negatives=3, jitter=0.0).eval()
    alone = method.loss(make_batch(filmed.clips[:1].expand(4, -1, -1, -1, -1)))
    assert alone.item() == 0
    method.moving = 0.001  # one track a clip, so that draws make no difference
    torch.manual_seed(0)
    both = method.loss(make_batch(filmed.clips[[0, 1]]))
    torch.manual_seed(0)
    twice = method.loss(make_batch(filmed.clips[[0, 0, 1, 1]]))
    assert both > 0
    torch.testing.assert_close(twice, both)


def test_equal_embeddings_cost_the_margin(filmed: Split) -> None:
    """The chance level: an encoder that says the same of everything pays the margin for each negative."""
    assert filmed.clips is not None
    method = built()
    torch.nn.init.zeros_(method.head[2].weight)
    assert method.loss(make_batch(filmed.clips[:8])).item() == pytest.approx(0.5)


def test_short_runs_rank_patches_in_changed_colours(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's settings leave the colours as they are."""
    assert tiny.train.clips is not None
    seen: list[Tensor] = []
    for settings in ({}, {"jitter": 0.8, "grey": 0.2}):
        method = built(**settings)
        prepare = method.encoder.prepare_images
        monkeypatch.setattr(
            method.encoder, "prepare_images", lambda views, prepare=prepare: (seen.append(views), prepare(views))[1]
        )
        torch.manual_seed(0)
        method.loss(make_batch(tiny.train.clips))
    torch.manual_seed(0)
    patches, _ = cut_track_ends(tiny.train.clips, 0.5, 0.1)
    torch.testing.assert_close(seen[0], patches.flatten(0, 1), atol=1e-3, rtol=0)
    assert (seen[1] - seen[0]).abs().amax((1, 2, 3)).gt(0.02).sum() > len(seen[0]) // 2
