"""How good answers are, where accuracy is not the question, and what features look like as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError


def overlap_counts(predictions: Tensor, masks: Tensor, num_classes: int, void: int) -> tuple[Tensor, Tensor]:
    """Predicted and true labels (N, H, W) -> pixels in the intersection and in the union (N, K) of each class.

    Pixels whose true label is ``void`` do not count.
    """
    pictures = len(masks)
    known = masks != void
    where = torch.arange(pictures, device=masks.device)[:, None, None].expand_as(masks)[known] * num_classes
    truth, found = where + masks[known].long(), where + predictions[known].long()
    length = pictures * num_classes
    actual, claimed = torch.bincount(truth, minlength=length), torch.bincount(found, minlength=length)
    both = torch.bincount(truth[truth == found], minlength=length)
    return both.view(pictures, -1), (actual + claimed - both).view(pictures, -1)


def mean_overlap(intersections: Tensor, unions: Tensor) -> Tensor:
    """Pixels (..., K) in intersections and unions -> mean intersection over union (...) of the classes with pixels."""
    present = unions > 0
    shares = torch.where(present, intersections / unions.clamp_min(1), 0)
    mean: Tensor = shares.sum(-1) / present.sum(-1).clamp_min(1)
    return mean


def average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Scores (N, L) and truth bool (N, L) -> average precision (L,) of each column; NaN without a positive.

    The mean, over the positives, of the precision among all images with at least their score: scikit-learn's
    ``average_precision_score``, equal scores included.
    """
    if not bool(torch.isfinite(scores).all()):
        raise UserError("the scores contain NaN or infinite values: check the encoder whose features they are of.")
    order = scores.argsort(dim=0, descending=True, stable=True)
    ranked, hits = scores.gather(0, order).double(), truth.gather(0, order).double()
    places = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)[:, None]
    # Equal scores share the precision at the last of them.
    is_last = torch.cat([ranked[1:] != ranked[:-1], torch.ones_like(ranked[:1], dtype=torch.bool)])
    last = torch.where(is_last, places, torch.inf).flip(0).cummin(0).values.flip(0).long() - 1
    precision = (hits.cumsum(0) / places).gather(0, last)
    return (precision * hits).sum(0) / torch.where(hits.sum(0) > 0, hits.sum(0), torch.nan)


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Similarity of two sets of features (N, D) and (N, E) of the same images, from 0 to 1.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, equation 5.
    """
    a, b = (features.double() - features.double().mean(0) for features in (first, second))
    if len(a) < min(a.shape[1], b.shape[1]):  # the N x N products are smaller than the D x E one
        gram_a, gram_b = a @ a.T, b @ b.T
        return float((gram_a * gram_b).sum() / (gram_a.norm() * gram_b.norm()))
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))


def effective_rank(features: Tensor) -> float:
    """Features (N, D) -> the exponential of the entropy of the normalised singular values, from 1 to D.

    Roy and Vetterli 2007; as RankMe it predicts how good features are: Garrido et al., ICML 2023.
    """
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp_min(1e-30) + 1e-7  # RankMe's epsilon
    return float((-shares * shares.log()).sum().exp())


def spectrum_decay(features: Tensor, first: int = 11, last: int = 50) -> float:
    """Features (N, D) -> alpha of eigenvalues of their covariance that fall like rank^-alpha; near 1 is best.

    Agrawal et al., "alpha-ReQ", NeurIPS 2022, section 3: a line through logarithms of the eigenvalues of ranks
    ``first`` to ``last``, of those that there are.
    """
    centred = features.double() - features.double().mean(0)
    values = torch.linalg.svdvals(centred).square() / len(features)
    last = min(last, int((values > values[0] * 1e-12).sum()))
    first = min(first, max(1, last - 1))
    if last - first < 1:
        return float("inf")
    ranks = torch.arange(first, last + 1, dtype=torch.float64, device=values.device).log()
    heights = values[first - 1 : last].log()
    ranks, heights = ranks - ranks.mean(), heights - heights.mean()
    return float(-(ranks * heights).sum() / ranks.square().sum())
