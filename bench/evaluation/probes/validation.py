"""How a probe chooses its regularisation: on one held-out part of train, by cross-validation, or not at all.

A held-out tenth of few images says nothing: of 10 images per class it is one image per class. There the images are
held out in turns instead. If every class has a single image, none can be held out, and a default is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .label_subset import rank_in_class

FEWEST_IMAGES, FEWEST_PER_CLASS = 10, 2  # a smaller held-out part is replaced by cross-validation,
MANY_IMAGES = 200  # unless it has this many images, which are enough whatever the number of classes

Choice = Literal["given", "held out", "cross-validated", "not chosen"]


@dataclass(frozen=True)
class ChosenStrength:
    """Which of several regularisation strengths is used, and why."""

    index: int  # of the strength
    choice: Choice
    accuracies: Tensor  # (S,) float64, of the held-out images under each strength; NaN where none was held out


def choose_strength(
    strengths: Tensor,
    masks: Sequence[Tensor],
    count_correct: Callable[[Tensor], Tensor],
    *,
    default: float,
    prefer: Callable[[Tensor], Tensor],
) -> ChosenStrength:
    """The strength, of (S,) float64, with the highest accuracy on held-out images.

    ``masks`` are those of `validation_masks`; ``count_correct`` maps a mask to the number (S,) of its held-out images
    that each strength classifies correctly. ``prefer`` turns strengths into numbers, of which the smallest wins a tie.
    Without masks the strength that is nearest to ``default`` on a logarithmic scale is used.
    """
    if not masks:
        unknown = torch.full_like(strengths, torch.nan)
        index = int((strengths.log() - math.log(default)).abs().argmin())
        return ChosenStrength(index, "not chosen" if len(strengths) > 1 else "given", unknown)
    correct = sum((count_correct(mask).to(strengths) for mask in masks), torch.zeros_like(strengths))
    accuracies = correct / sum(int((~mask).sum()) for mask in masks)
    index = int(prefer(strengths).masked_fill(accuracies < accuracies.max(), torch.inf).argmin())
    choice: Choice = "held out" if len(masks) == 1 else "cross-validated"
    return ChosenStrength(index, choice if len(strengths) > 1 else "given", accuracies)


def validation_masks(labels: Tensor, keep: Tensor, held_out: float, seed: int) -> list[Tensor]:
    """Labels (N,) and the mask ``keep`` of `training_mask` -> masks (N,), true for the images to train on.

    One mask, ``keep``, if it leaves enough images out. Otherwise 1 / ``held_out`` masks, fewer where classes are
    small: each image is left out once, except the only image of a class. No mask if all classes have one image.
    """
    classes, counts = torch.unique(labels, return_counts=True)
    enough = min(MANY_IMAGES, max(FEWEST_IMAGES, FEWEST_PER_CLASS * len(classes)))
    if int((~keep).sum()) >= enough:
        return [keep]
    folds = min(max(2, round(1 / held_out)), int(counts.max()))
    if folds < 2:
        return []
    rank = rank_in_class(labels, seed)
    lonely = (counts == 1)[torch.searchsorted(classes, labels)].cpu()
    return [((rank % folds != fold) | lonely).to(labels.device) for fold in range(folds)]
