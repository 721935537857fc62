"""Few-label splits: nested, stratified, the same everywhere, and refused where labels lack."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes.label_subset import label_subset, subset_digest

LABELS = torch.tensor([2, 0, 1, 0, 2, 0, 1, 2, 0, 0, 2, 1] * 5)  # 25 of class 0, 15 of class 1, 20 of class 2


def counts(rows: torch.Tensor) -> list[int]:
    """How many of each class."""
    return torch.bincount(LABELS[rows], minlength=3).tolist()


def test_every_class_gets_its_number() -> None:
    """So many of each class, or a share of each, rounded, and one at least; each image once and in order."""
    assert counts(label_subset(LABELS, per_class=4)) == [4, 4, 4]
    assert counts(label_subset(LABELS, share=0.2)) == [5, 3, 4]
    assert counts(label_subset(LABELS, share=0.001)) == [1, 1, 1]
    assert torch.equal(label_subset(LABELS, share=1.0), torch.arange(60))
    rows = label_subset(LABELS, per_class=7)
    assert torch.equal(rows, rows.unique())


def test_fewer_are_among_more() -> None:
    """Splits are nested, those by number in those by share too."""
    splits = [
        label_subset(LABELS, share=0.001),
        label_subset(LABELS, per_class=2),
        label_subset(LABELS, share=0.2),
        label_subset(LABELS, per_class=10),
    ]
    splits += [label_subset(LABELS, per_class=15), label_subset(LABELS, share=1.0)]
    for fewer, more in pairwise(splits):
        assert set(fewer.tolist()) <= set(more.tolist())


def test_a_split_is_known_by_its_hash() -> None:
    """The same seed draws the same images, another seed others; the digest is of the places alone."""
    rows = label_subset(LABELS, per_class=4, seed=1)
    assert torch.equal(rows, label_subset(LABELS, per_class=4, seed=1))
    assert (
        subset_digest(rows) == subset_digest(rows.clone()) != subset_digest(label_subset(LABELS, per_class=4, seed=2))
    )
    assert subset_digest(torch.tensor([1, 2, 300])) == "a1671a506c4c89d0"


def test_more_than_there_are_is_refused() -> None:
    """The class that has too few is named, and how many it has."""
    with pytest.raises(UserError, match="16 labels per class: class 1 has only 15 train images"):
        label_subset(LABELS, per_class=16)


def test_a_class_without_images_is_no_class() -> None:
    """Labels that never occur neither count nor trip it."""
    assert label_subset(torch.tensor([7, 3, 7, 3, 3]), per_class=2, seed=0).shape == (4,)
