"""Propagation: are the objects of a clip's first frame found in all later frames, by features alone?

Nothing is trained. The masks of the first frame are given. Each position of a later frame gets the labels of its
nearest positions in the first and the frames before it, weighted by the similarity of their features: video object
segmentation as in Jabri, Owens and Efros, "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020,
appendix (https://arxiv.org/abs/2006.14613), and Caron et al., "Emerging Properties in Self-Supervised Vision
Transformers", ICCV 2021, section 4.2.2 (https://arxiv.org/abs/2104.14294). Metrics of Perazzi et al., "A Benchmark
Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, section 3.

Where we differ: clips are short, square and small, an average is over clips and not over the objects of whole videos,
and the last frame counts. The declared chance level keeps the first mask for all frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from sslbench import (
    Count,
    FeatureSpec,
    Measurement,
    Metric,
    Panel,
    Positive,
    Protocol,
    Representation,
    UserError,
    augment,
    evenly_spaced,
    probes,
    statistics,
)

from ._dense import MAX_VALUES
from ._pictures import ROWS, colour_labels

SIMILARITIES = 2**25  # that are in memory at once
SHOWN = 4  # later frames of a clip in a picture
NAMES = ("j_and_f", "region_similarity", "contour_accuracy")


def score_of_first_masks(representation: Representation, name: str) -> float:
    """A metric of masks that stay those of the first frame."""

    def score() -> list[float]:
        masks = clip_masks_of(representation, Propagation().clips)
        scores = score_clips(masks[:, :1].expand_as(masks), masks)
        return [float(part.mean()) for part in scores]

    values = representation.compute_once(representation.encoder, "scores of first masks", score)
    return float(values[NAMES.index(name)])


def clip_masks_of(representation: Representation, clips: int) -> Tensor:
    """Masks (M, T, H, W) of at most so many test clips, evenly spaced."""
    masks = representation.targets("test").clip_masks
    assert masks is not None
    return masks[evenly_spaced(len(masks), clips)].to(representation.device)


@dataclass(frozen=True, kw_only=True)
class Propagation(Protocol):
    """Fit of masks that nearest positions carry from a clip's first frame to the later ones."""

    taps: tuple[str, ...] = ("conv3", "conv4")  # maps of later taps often have too few positions
    clips: Count = 200  # of the test split, evenly spaced
    nearest: Count = 5  # positions that give a position its labels
    temperature: Positive = 0.1
    radius: Annotated[int, Ge(0)] = 12  # positions up, down, left and right within which nearest ones are searched
    context: Count = 7  # frames before a frame that are searched in addition to the first
    presets: ClassVar = {"smoke": {"clips": 20}}
    needs: ClassVar = frozenset({"clips", "clip_masks"})
    headline: ClassVar = "j_and_f"
    metrics: ClassVar = tuple(
        Metric(name, "fraction", best=1, chance=partial(score_of_first_masks, name=name)) for name in NAMES
    )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """Nothing that is stored: frames of clips are encoded when they are needed."""
        return ()

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean of J and F, and both, at each tap."""
        masks = clip_masks_of(representation, self.clips)
        for tap in self.taps:
            found = self.predict(representation, tap, self.clips)
            for name, values in zip(NAMES, score_clips(found, masks), strict=True):
                scores = values.cpu().numpy()
                low, high = statistics.bootstrap_mean_interval(scores)
                yield Measurement(
                    tap=tap,
                    metric=name,
                    value=float(scores.mean()),
                    ci_low=low,
                    ci_high=high,
                    details={"clips": len(scores)},
                )

    def predict(self, representation: Representation, tap: str, clips: int) -> Tensor:
        """Object numbers (M, T, H, W) of all frames; those of the first are the given ones."""
        given = clip_masks_of(representation, clips)[:, 0]
        all_clips = representation.targets("test").clips
        assert all_clips is not None
        indices, start, found = evenly_spaced(len(all_clips), clips), 0, []
        spec, size = FeatureSpec(tap, MAX_VALUES, "map"), 1  # the first clip alone says how large the maps are
        while start < len(indices):
            some = all_clips[indices[start : start + size]]
            maps = representation.encode(some.flatten(0, 1), spec)
            probes.check_features(probes.position_rows(maps))
            found.append(self.carry(maps.unflatten(0, some.shape[:2]), given[start : start + size]))
            start += size
            size = max(1, SIMILARITIES // ((self.context + 1) * maps[0, 0].numel() ** 2))
        return torch.cat(found)

    def carry(self, maps: Tensor, given: Tensor) -> Tensor:
        """Maps (B, T, C, h, w) of clips and masks (B, H, W) of their first frames -> masks (B, T, H, W) of all."""
        numbers = torch.cat([given.new_zeros(1), given.unique()]).unique()
        first = probes.means_of_positions((given[:, None] == numbers.view(1, -1, 1, 1)), maps.shape[3:])
        rows, labels = F.normalize(maps.flatten(3).mT, dim=3), [first.flatten(2).mT]  # (B, T, P, C), (B, P, K)
        near = neighbourhood(maps.shape[3], maps.shape[4], self.radius).to(maps.device)
        for frame in range(1, maps.shape[1]):
            context = [0, *range(max(1, frame - self.context), frame)]
            similarity = rows[:, frame] @ rows[:, context].flatten(1, 2).mT
            similarity = similarity.masked_fill(~near.repeat(1, len(context)), -torch.inf)
            best, where = similarity.topk(min(self.nearest, similarity.shape[2]), dim=2)
            weights = (best / self.temperature).softmax(2)
            bank = torch.cat([labels[index] for index in context], 1)
            picked = bank[torch.arange(len(bank), device=bank.device)[:, None, None], where]  # (B, P, nearest, K)
            labels.append((weights[..., None] * picked).sum(2))
        shares = torch.stack(labels[1:], 1).flatten(0, 1).mT.unflatten(2, maps.shape[3:])
        shares = F.interpolate(shares, given.shape[1:], mode="bilinear", align_corners=False)
        later = numbers[shares.argmax(1)].unflatten(0, (len(given), -1))
        return torch.cat([given[:, None], later], 1)

    def pictures(self, representation: Representation) -> list[Panel]:
        """The first frames with their masks, some later ones with those found at the last tap, and a true last one."""
        tap, masks = self.taps[-1], clip_masks_of(representation, ROWS)
        all_clips = representation.targets("test").clips
        assert all_clips is not None
        clips = augment.to_float(all_clips[evenly_spaced(len(all_clips), ROWS)]).to(masks.device)
        found, last = self.predict(representation, tap, ROWS), clips.shape[1] - 1
        later = [1 + index for index in evenly_spaced(last, SHOWN).tolist()]
        later[-1] = last
        return [
            Panel(title="given", images=overlay(clips[:, 0], masks[:, 0])),
            *(Panel(title=f"{tap}, frame {t + 1}", images=overlay(clips[:, t], found[:, t])) for t in later),
            Panel(title=f"true, frame {last + 1}", images=overlay(clips[:, last], masks[:, last])),
        ]


def neighbourhood(height: int, width: int, radius: int) -> Tensor:
    """Which positions (P, P) of a map are at most so many rows and columns from each other."""
    rows, columns = (torch.arange(length) for length in (height, width))
    places = torch.cartesian_prod(rows, columns)
    return (places[:, None] - places).abs().amax(2) <= radius


def score_clips(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Found and true object numbers (M, T, H, W) -> J&F, J and F (N,) of the N clips that begin with an object.

    Each is the mean over the objects of the first frame, of the mean over the later frames. Raises UserError without
    any object.
    """
    totals = truth.new_zeros(2, len(truth), dtype=torch.float64)
    objects = truth.new_zeros(len(truth), dtype=torch.float64)
    for number in truth[:, 0].unique().tolist():
        if number == 0:
            continue
        present = (truth[:, 0] == number).flatten(1).any(1)
        ours, theirs = ((masks[present, 1:] == number).flatten(0, 1) for masks in (found, truth))
        for total, measure in zip(totals, (probes.region_similarity, probes.contour_accuracy), strict=True):
            total[present] += measure(ours, theirs).unflatten(0, (int(present.sum()), -1)).mean(1)
        objects[present] += 1
    if not objects.any():
        raise UserError("propagation: no test clip has an object in its first frame; it needs masks with objects.")
    regions, contours = totals[:, objects > 0] / objects[objects > 0]
    return (regions + contours) / 2, regions, contours


def overlay(images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1], with objects (N, H, W) in colours that let them shine through."""
    return torch.where(masks[:, None] > 0, (images + colour_labels(masks)) / 2, images)
