"""Propagation: labels are carried as a loop carries them, and scores are those of the objects of the first frame."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes import contour_accuracy, region_similarity
from sslbench.protocols.propagation import Propagation, clip_masks_of, neighbourhood, score_clips, score_of_first_masks
from tests.protocols.builders import ideal_clips_representation


def carry_by_loop(protocol: Propagation, maps: torch.Tensor, first: torch.Tensor) -> list[list[list[float]]]:
    """Maps (T, C, h, w) of a clip, and shares (K, h, w) of the first frame -> shares per frame and position."""
    frames, _, height, width = maps.shape
    places = [(row, column) for row in range(height) for column in range(width)]
    shares = [[first[:, row, column].tolist() for row, column in places]]
    for frame in range(1, frames):
        context = sorted({0, *range(max(0, frame - protocol.context), frame)})
        carried = []
        for row, column in places:
            candidates = [
                (float(F.cosine_similarity(maps[frame, :, row, column], maps[other, :, r, c], dim=0)), shares[other][p])
                for other in context
                for p, (r, c) in enumerate(places)
                if max(abs(r - row), abs(c - column)) <= protocol.radius
            ]
            best = sorted(candidates, key=lambda one: -one[0])[: protocol.nearest]
            weights = [math.exp(similarity / protocol.temperature) for similarity, _ in best]
            carried.append(
                [
                    sum(w * labels[k] for w, (_, labels) in zip(weights, best, strict=True)) / sum(weights)
                    for k in (0, 1, 2)
                ]
            )
        shares.append(carried)
    return shares


def test_labels_are_carried_as_by_a_loop() -> None:
    """Two clips of 4 frames with two objects, a small neighbourhood, 3 nearest and 2 frames of context."""
    generator = torch.Generator().manual_seed(0)
    protocol = Propagation(radius=1, nearest=3, context=2)
    maps, given = torch.randn(2, 4, 5, 4, 4, generator=generator), torch.zeros(2, 4, 4, dtype=torch.uint8)
    given[:, :2, :2], given[0, 2:, 1:], given[1, 3] = 1, 7, 7
    found = protocol.carry(maps, given)
    assert torch.equal(found[:, 0], given)
    numbers = [0, 1, 7]
    for clip in range(2):
        first = torch.stack([(given[clip] == number).float() for number in numbers])
        for frame, shares in enumerate(carry_by_loop(protocol, maps[clip], first)):
            expected = [numbers[max(range(3), key=one.__getitem__)] for one in shares]
            assert found[clip, frame].flatten().tolist() == expected


def test_neighbours_are_those_within_the_radius() -> None:
    """On a map of 3 rows and 4 columns, with a radius of 1: a square of 9, less what is outside."""
    near = neighbourhood(3, 4, 1)
    assert near.sum(1).tolist() == [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4]
    assert near[5].nonzero().flatten().tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_scores_are_means_over_frames_then_objects_then_clips() -> None:
    """Two clips of two and one objects; one that appears later does not count, and neither does the first frame."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (3, 4, 6, 6), generator=generator).to(torch.uint8)
    truth[1, 0][truth[1, 0] == 2] = 0
    truth[2, 0] = 0
    found = torch.randint(0, 3, (3, 4, 6, 6), generator=generator).to(torch.uint8)
    both, regions, contours = score_clips(found, truth)
    for measure, scores in ((region_similarity, regions), (contour_accuracy, contours)):
        for clip, objects in enumerate(((1, 2), (1,))):
            per_object = [
                sum(float(measure(found[clip, t][None] == k, truth[clip, t][None] == k)) for t in (1, 2, 3)) / 3
                for k in objects
            ]
            assert float(scores[clip]) == pytest.approx(sum(per_object) / len(per_object))
    assert len(regions) == 2
    assert both.tolist() == pytest.approx(((regions + contours) / 2).tolist())


def test_chance_keeps_the_first_masks() -> None:
    """The declared level is the score of masks that do not move; objects that stay give 1."""
    representation = ideal_clips_representation()
    masks = clip_masks_of(representation, 200)
    kept = masks[:, :1].expand_as(masks)
    expected = [float(part.mean()) for part in score_clips(kept, masks)]
    for name, value in zip(("j_and_f", "region_similarity", "contour_accuracy"), expected, strict=True):
        assert score_of_first_masks(representation, name) == value
    assert 0 < expected[0] < 0.5
    masks[:] = kept.clone()
    assert float(score_clips(kept, masks)[0].mean()) == 1


def test_the_number_of_clips_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one or all together, the same masks are found."""
    representation = ideal_clips_representation(noise=0.5)
    together = Propagation().predict(representation, "conv5", 12)
    monkeypatch.setattr("sslbench.protocols.propagation.SIMILARITIES", 1)
    assert torch.equal(Propagation().predict(representation, "conv5", 12), together)
    assert together.shape == (12, 4, 16, 16)


def test_clips_without_an_object_are_refused() -> None:
    """There is nothing to follow; the error is one line."""
    representation = ideal_clips_representation()
    representation.targets("test").clip_masks[:, 0] = 0  # type: ignore[index]
    with pytest.raises(UserError, match="propagation: no test clip has an object in its first frame"):
        list(Propagation(taps=("conv5",)).evaluate(representation))
