"""Subsets of labelled images: nested, stratified, seeded, and refused where a class is too small."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes.label_subset import label_subset, subset_digest

LABELS = torch.tensor([2, 0, 1, 0, 2, 0, 1, 2, 0, 0, 2, 1] * 5)  # 25 of class 0, 15 of class 1, 20 of class 2


def counts(rows: torch.Tensor) -> list[int]:
    """The number of images of each class."""
    return torch.bincount(LABELS[rows], minlength=3).tolist()


def test_every_class_gets_its_number() -> None:
    """A subset has a number of images per class, or a rounded share of each, at least one; indices ascend."""
    assert counts(label_subset(LABELS, per_class=4)) == [4, 4, 4]
    assert counts(label_subset(LABELS, share=0.2)) == [5, 3, 4]
    assert counts(label_subset(LABELS, share=0.001)) == [1, 1, 1]
    assert torch.equal(label_subset(LABELS, share=1.0), torch.arange(60))
    rows = label_subset(LABELS, per_class=7)
    assert torch.equal(rows, rows.unique())


def test_subsets_are_nested() -> None:
    """Each smaller subset is contained in the larger ones, also by number in those by share."""
    splits = [
        label_subset(LABELS, share=0.001),
        label_subset(LABELS, per_class=2),
        label_subset(LABELS, share=0.2),
        label_subset(LABELS, per_class=10),
    ]
    splits += [label_subset(LABELS, per_class=15), label_subset(LABELS, share=1.0)]
    for fewer, more in pairwise(splits):
        assert set(fewer.tolist()) <= set(more.tolist())


def test_the_digest_identifies_a_subset() -> None:
    """Equal seeds give equal subsets, other seeds other ones; the digest depends only on the indices."""
    rows = label_subset(LABELS, per_class=4, seed=1)
    assert torch.equal(rows, label_subset(LABELS, per_class=4, seed=1))
    assert (
        subset_digest(rows) == subset_digest(rows.clone()) != subset_digest(label_subset(LABELS, per_class=4, seed=2))
    )
    assert subset_digest(torch.tensor([1, 2, 300])) == "a1671a506c4c89d0"


def test_a_class_that_is_too_small_is_refused() -> None:
    """The message names the class and its number of images."""
    with pytest.raises(UserError, match="16 labels per class: class 1 has only 15 train images"):
        label_subset(LABELS, per_class=16)


def test_a_class_without_images_does_not_count() -> None:
    """Class numbers that never occur are ignored."""
    assert label_subset(torch.tensor([7, 3, 7, 3, 3]), per_class=2, seed=0).shape == (4,)
