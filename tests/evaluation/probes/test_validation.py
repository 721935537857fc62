"""How a probe chooses its regularisation: held out, cross-validated, or not chosen."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes.feature_table import training_mask
from sslbench.bench.evaluation.probes.validation import validation_masks
from tests.builders import overlapping_classes

STRENGTHS = (1e-4, 1e-2, 1.0)


def masks_of(labels: torch.Tensor, held_out: float = 0.1) -> list[torch.Tensor]:
    """The masks for a seed of 0."""
    return validation_masks(labels, training_mask(labels, held_out, 0), held_out, 0)


@pytest.mark.parametrize(("per_class", "classes", "folds"), [(20, 10, 1), (16, 10, 1), (250, 2, 1), (10, 250, 1)])
def test_a_large_held_out_part_is_used_as_it_is(per_class: int, classes: int, folds: int) -> None:
    """Two images per class, or 200 in all, are held out once: by the mask that was always used."""
    labels = torch.arange(per_class * classes) % classes
    masks = masks_of(labels)
    assert len(masks) == folds
    assert torch.equal(masks[0], training_mask(labels, 0.1, 0))


@pytest.mark.parametrize(("per_class", "folds"), [(1, 0), (2, 2), (3, 3), (4, 4), (5, 5), (10, 10), (15, 10)])
def test_every_image_of_few_is_held_out_once(per_class: int, folds: int) -> None:
    """Where a tenth would be at most one image per class, the images are held out in turns; classes stay balanced."""
    labels = torch.arange(per_class * 10) % 10
    masks = masks_of(labels)
    assert len(masks) == folds
    if masks:
        assert torch.equal(sum((~mask).int() for mask in masks), torch.ones(len(labels), dtype=torch.int32))
    for mask in masks:
        assert torch.bincount(labels[mask], minlength=10).min() >= 1
        assert len(torch.bincount(labels[~mask], minlength=10).unique()) == 1


def test_the_only_image_of_a_class_is_never_held_out() -> None:
    """A class that a fold could not train on says nothing about a strength."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    masks = masks_of(labels)
    assert len(masks) == 3
    assert all(mask[5] for mask in masks)
    assert sum(int((~mask).sum()) for mask in masks) == 5


PROBES = {"linear": probes.linear_probe, "mlp": partial(probes.mlp_probe, epochs=2)}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_nothing_is_chosen_where_nothing_can_be_held_out(probe: partial) -> None:
    """With one image per class the documented default is used, not the first of equal zeros; no accuracy is claimed."""
    X, _ = overlapping_classes(6, 8)
    result = probe(X, torch.arange(6), X, 6, strengths=STRENGTHS)
    assert result.choice == "not chosen"
    assert result.strength == {"linear": 1.0, "mlp": 1e-2}["linear" if probe is probes.linear_probe else "mlp"]
    assert result.validation_accuracies.isnan().all()
    assert probe(X, torch.arange(6), X, 6, strengths=(3e-2, 1e-7)).strength == 3e-2, "the nearest of the grid"


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_few_images_are_cross_validated(probe: partial) -> None:
    """The accuracy is a share of all images and not of a handful."""
    X, y = overlapping_classes(32, 16)
    result = probe(X, y, X, 4, strengths=STRENGTHS)
    assert result.choice == "cross-validated"
    right = result.validation_accuracies * 32
    assert torch.allclose(right, right.round())
    assert result.strength in STRENGTHS
    assert result.validation_accuracies[STRENGTHS.index(result.strength)] == result.validation_accuracies.max() > 0


def test_cross_validation_is_scikit_learns() -> None:
    """The accuracies are those of scikit-learn's models, fitted to the standardised rest of each fold."""
    from sklearn.linear_model import LogisticRegression

    X, y = overlapping_classes(24, 6)
    correct = torch.zeros(3)
    for keep in masks_of(y):
        Z = (X - X[keep].mean(0)) / X[keep].std(0, correction=0)
        for i, C in enumerate(STRENGTHS):
            model = LogisticRegression(C=C, max_iter=5000).fit(Z[keep].numpy(), y[keep].numpy())
            correct[i] += model.score(Z[~keep].numpy(), y[~keep].numpy()) * int((~keep).sum())
    found = probes.linear_probe(X, y, X, 4, strengths=STRENGTHS)
    assert found.choice == "cross-validated"
    assert found.validation_accuracies.tolist() == pytest.approx((correct / 24).tolist(), abs=0.05)


def test_a_single_strength_is_given() -> None:
    """There is no choice to report."""
    X, y = overlapping_classes(200, 16)
    assert probes.linear_probe(X, y, X, 4, strengths=(0.1,)).choice == "given"
    assert probes.mlp_probe(X, y, X, 4, epochs=1).choice == "given"
    assert probes.linear_probe(X, y, X, 4).choice == "held out"
