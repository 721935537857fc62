"""The tracker of clips: which windows it picks, and whether it finds them again."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Split
from sslbench.methods._tracks import (
    box_means,
    cut_track_ends,
    cut_windows,
    match_scores,
    motion_energy,
    outline_windows,
    track_windows,
)


def moving_squares(steps: list[tuple[int, int]], pan: tuple[int, int] = (0, 0), frames: int = 4) -> Tensor:
    """One clip per step, by which a textured square of 8 pixels moves per frame; the noise behind moves by ``pan``."""
    torch.manual_seed(3)
    clips = []
    for down, right in steps:
        wide, square = 0.3 * torch.rand(3, 64, 64), 0.5 + 0.5 * torch.rand(3, 8, 8)
        clip = []
        for t in range(frames):
            frame = wide[:, 16 - t * pan[0] :, 16 - t * pan[1] :][:, :32, :32].clone()
            top, left = 12 + t * down, 12 + t * right
            frame[:, top : top + 8, left : left + 8] = square
            clip.append(frame)
        clips.append(torch.stack(clip))
    return torch.stack(clips)


def test_a_moving_square_is_tracked() -> None:
    """The window starts on the square and makes each of its steps, in a different direction per clip."""
    steps = [(2, 1), (-2, 0), (1, -2), (0, 2)]
    corners = track_windows(moving_squares(steps), 12 / 32, 0.001) * 32
    for n, (down, right) in enumerate(steps):
        top, left = corners[n, 0].tolist()
        assert top <= 12 <= 20 <= top + 12 + abs(down)
        assert left <= 12 <= 20 <= left + 12 + abs(right)
        assert corners[n].tolist() == [[top + t * down, left + t * right] for t in range(4)]


def test_camera_motion_does_not_count() -> None:
    """Panning changes every pixel; once it is compensated, only the square that moves differently remains."""
    clips = moving_squares([(0, 0), (-1, 1)], pan=(1, 2))
    energy = motion_energy(clips[:, 0], clips[:, 1])
    plain = (clips[:, 1] - clips[:, 0]).abs().mean(1)
    for n in range(2):
        assert plain[n].gt(0.02).float().mean() > 0.9
        ring = energy[n, 2:-2, 2:-2]
        assert (ring > 0.02).float().mean() < 0.3
        assert energy[n, 9:23, 9:23].sum() > 0.95 * ring.sum()


def test_windows_stay_on_their_object(film: Split) -> None:
    """A window ends on the object on which it began, far more often than a fixed or a random window."""
    assert film.clips is not None
    assert film.clip_masks is not None
    torch.manual_seed(0)
    corners = (track_windows(film.clips, 0.5, 0.1) * 32).round().long()
    N = len(corners)
    item = torch.arange(N)

    def object_at(t: int, places: Tensor) -> Tensor:
        assert film.clip_masks is not None
        return film.clip_masks[item, t, places[:, 0] + 8, places[:, 1] + 8]

    first_object = object_at(0, corners[:, 0])
    on = first_object > 0
    assert on.float().mean() > 0.5
    tracked, fixed, random = (
        (object_at(7, places) == first_object)[on].float().mean().item()
        for places in (corners[:, -1], corners[:, 0], torch.randint(17, (N, 2)))
    )
    assert tracked > 0.75
    assert tracked > fixed + 0.25
    assert tracked > random + 0.25


def test_match_scores_match_a_loop() -> None:
    """They are normalised cross-correlations of the first frame's window with each window of each frame."""
    torch.manual_seed(0)
    frames, corners, window = torch.rand(2, 3, 3, 7, 7), torch.tensor([[1, 3], [2, 0]]), 4
    scores = match_scores(frames, corners, window)
    assert scores.shape == (2, 3, 4, 4)
    for n, t, y, x in itertools.product(range(2), range(3), range(4), range(4)):
        top, left = corners[n].tolist()
        a = frames[n, 0, :, top : top + window, left : left + window]
        b = frames[n, t, :, y : y + window, x : x + window]
        a, b = a - a.mean(), b - b.mean()
        assert scores[n, t, y, x].item() == pytest.approx(((a * b).sum() / (a.norm() * b.norm())).item(), abs=1e-4)
    for n in range(2):
        assert scores[n, 0, corners[n, 0], corners[n, 1]].item() == pytest.approx(1, abs=1e-4)


def test_box_means_are_means() -> None:
    """Entry (y, x) is the mean of the window with its upper left corner there."""
    values = torch.rand(2, 5, 5)
    means = box_means(values, 3)
    assert means.shape == (2, 3, 3)
    assert means[1, 2, 0].item() == pytest.approx(values[1, 2:5, 0:3].mean().item())


def test_tracks_are_drawn_among_the_windows_with_most_motion(film: Split) -> None:
    """One clip gives different tracks; with a small share always the same one, with the most motion."""
    assert film.clips is not None
    same = film.clips[:1].expand(40, -1, -1, -1, -1)
    torch.manual_seed(0)
    few, many = track_windows(same, 0.5, 0.001)[:, 0], track_windows(same, 0.5, 0.3)[:, 0]
    assert len(few.unique(dim=0)) == 1
    assert len(many.unique(dim=0)) > 10
    energy = box_means(motion_energy(same[:1, 0].float(), same[:1, 1].float()), 16)[0]
    top, left = divmod(int(energy.argmax()), 17)
    assert (few[0] * 32).tolist() == [top, left]


def test_larger_clips_are_tracked_at_a_lower_resolution(film: Split) -> None:
    """Clips of twice the size have the same tracks, and patches with their full resolution."""
    assert film.clips is not None
    small = film.clips[:6]
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.manual_seed(0)
    patches, corners = cut_track_ends(small, 0.5, 0.1)
    torch.manual_seed(0)
    larger, places = cut_track_ends(large, 0.5, 0.1)
    torch.testing.assert_close(places, corners)
    assert patches.shape == (2, 6, 3, 32, 32)
    assert larger.shape == (2, 6, 3, 64, 64)


def test_windows_are_enlarged_to_the_image() -> None:
    """A window of half the side becomes a patch of the full side, by bilinear interpolation."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    patches = cut_windows(images, torch.tensor([[0.25, 0.5], [0.0, 0.125]]), 0.5)
    for n, (top, left) in enumerate(((2, 4), (0, 1))):
        inside = torch.nn.functional.interpolate(
            images[n : n + 1, :, top : top + 4, left : left + 4], scale_factor=2, mode="bilinear"
        )
        torch.testing.assert_close(patches[n, :, 1:-1, 1:-1], inside[0, :, 1:-1, 1:-1])


def test_windows_are_outlined_in_red() -> None:
    """The outline is one pixel wide, and nothing else is changed."""
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    drawn = outline_windows(images, torch.tensor([[0.25, 0.375]]), 0.5)
    red = [(y, x) for y in range(2, 6) for x in range(3, 7) if y in (2, 5) or x in (3, 6)]
    assert drawn[0, 0].nonzero().tolist() == [list(place) for place in red]
    assert drawn[:, 1:].sum() == 0
