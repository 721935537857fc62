"""Exact nearest-neighbour search by cosine similarity, and kNN classification.

N train images (the bank), M test images (the queries), D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import require
from .feature_table import COPY_BYTES, check_features

TILE_ROWS = 2**16  # rows of the bank that are compared at once


@torch.no_grad()
def knn_predictions(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    num_classes: int,
    *,
    k: Sequence[int] = (200,),
    temperature: Sequence[float] = (0.07,),
    chunk: int = 512,
) -> dict[tuple[int, float], Tensor]:
    """Classifies test images by their k nearest train images; each votes with weight exp(cosine / temperature).

    One search serves every pair of k and temperature: the result maps each pair to its predictions (M,).
    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4.
    """
    labels = check_features(train_features, train_labels, num_classes)
    check_features(test_features)
    require(min(k) >= 1, "k", min(k), "1 or more")
    require(min(temperature) > 0, "temperature", min(temperature), "above 0")
    predictions: dict[tuple[int, float], list[Tensor]] = {(n, t): [] for n in k for t in temperature}
    for s, neighbours in nearest_neighbours(train_features, test_features, min(max(k), len(labels)), chunk):
        voters = labels[neighbours]
        for (n, t), of_pair in predictions.items():
            weights = ((s[:, :n] - s[:, :1]) / t).exp()  # the nearest weighs 1, so nothing overflows
            votes = weights.new_zeros(len(s), num_classes).scatter_add_(1, voters[:, :n], weights)
            of_pair.append(votes.argmax(1))
    return {pair: torch.cat(of_pair) for pair, of_pair in predictions.items()}


@torch.no_grad()
def knn_votes(bank: Tensor, labels: Tensor, queries: Tensor, num_classes: int, *, k: int, temperature: float) -> Tensor:
    """The share (M, K) of each class in the votes of the k nearest rows of the bank, weighted as in classification.

    Bank (N, D) with labels int64 (N,), queries (M, D).
    """
    shares = []
    for s, neighbours in nearest_neighbours(bank, queries, min(k, len(bank)), 512):
        weights = ((s - s[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(s), num_classes).scatter_add_(1, labels.to(bank.device)[neighbours], weights)
        shares.append(votes / votes.sum(1, keepdim=True))
    return torch.cat(shares)


def nearest_neighbours(bank: Tensor, queries: Tensor, k: int, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each chunk of queries, cosines and indices (chunk, k) of the k most similar rows of the bank, best first."""
    normalised = None
    if bank.numel() * 4 <= COPY_BYTES:
        normalised = F.normalize(bank.float(), dim=1)
    scores = torch.empty(chunk, min(TILE_ROWS, len(bank)), device=bank.device)  # reused: allocating each time is slow
    for q in queries.split(chunk):
        q = F.normalize(q.to(bank.device, torch.float32), dim=1)
        values, indices = [], []
        for start in range(0, len(bank), TILE_ROWS):
            tile = slice(start, start + TILE_ROWS)
            rows = F.normalize(bank[tile].float(), dim=1) if normalised is None else normalised[tile]
            s, i = grouped_topk(torch.mm(q, rows.T, out=scores[: len(q), : len(rows)]), min(k, len(rows)))
            values.append(s)
            indices.append(i + start)
        if len(values) == 1:
            yield values[0], indices[0]
        else:
            s, i = torch.cat(values, dim=1).topk(k, dim=1)
            yield s, torch.cat(indices, dim=1).gather(1, i)


def grouped_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest values of each row and their columns, (n, N) -> (n, k); `torch.topk`, but faster where N is large.

    The columns are split into groups. The k highest values of a row are all in those k groups whose maxima are the
    highest, so only these groups need to be searched.
    """
    n, columns = scores.shape
    size = math.isqrt(columns // k)  # of a group: groups and candidates are then equally many
    if size < 2:
        return scores.topk(k, dim=1)
    groups = columns // size
    whole = groups * size  # column c belongs to group c % groups, so that maxima are taken over contiguous memory
    best = scores[:, :whole].unflatten(1, (size, groups)).amax(1).topk(k, dim=1, sorted=False).indices
    members = best.unsqueeze(1) + groups * torch.arange(size, device=scores.device).unsqueeze(1)
    rest = torch.arange(whole, columns, device=scores.device).expand(n, -1)
    candidates = torch.cat([members.flatten(1), rest], dim=1)
    values, at = scores.gather(1, candidates).topk(k, dim=1)
    return values, candidates.gather(1, at)
