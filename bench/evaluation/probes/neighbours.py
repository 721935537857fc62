"""The k nearest train images, and their weighted vote."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import require
from .rows import COPY_BYTES, check


@torch.no_grad()
def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    k: Sequence[int] = (200,),
    temperature: Sequence[float] = (0.07,),
    chunk: int = 512,
) -> dict[tuple[int, float], Tensor]:
    """Votes of the k nearest by cosine, weighted exp(s / T), for every (k, T) from one search: predictions (M,) each.

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    require(min(k) >= 1, "k", min(k), "1 or more")
    require(min(temperature) > 0, "temperature", min(temperature), "above 0")
    found: dict[tuple[int, float], list[Tensor]] = {(a, t): [] for a in k for t in temperature}
    for s, neighbours in nearest(train_features, test_features, min(max(k), len(labels)), chunk):
        voters = labels[neighbours]
        for (a, t), answers in found.items():
            weights = ((s[:, :a] - s[:, :1]) / t).exp()  # the nearest weighs 1, so nothing overflows
            votes = weights.new_zeros(len(s), classes).scatter_add_(1, voters[:, :a], weights)
            answers.append(votes.argmax(1))
    return {key: torch.cat(answers) for key, answers in found.items()}


def nearest(bank: Tensor, queries: Tensor, k: int, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosines and indices (chunk, k) of the k most similar rows of the bank, for each chunk of queries."""
    tile = 2**16  # rows of the bank compared at once
    kept = None
    if bank.numel() * 4 <= COPY_BYTES:
        kept = F.normalize(bank.float(), dim=1)
    scores = torch.empty(chunk, min(tile, len(bank)), device=bank.device)  # written again and again: fresh memory costs
    for q in queries.split(chunk):
        q = F.normalize(q.to(bank.device, torch.float32), dim=1)
        values, indices = [], []
        for at in range(0, len(bank), tile):
            rows = F.normalize(bank[at : at + tile].float(), dim=1) if kept is None else kept[at : at + tile]
            s, i = highest(torch.mm(q, rows.T, out=scores[: len(q), : len(rows)]), min(k, len(rows)))
            values.append(s)
            indices.append(i + at)
        if len(values) == 1:
            yield values[0], indices[0]
        else:
            s, i = torch.cat(values, dim=1).topk(k, dim=1)
            yield s, torch.cat(indices, dim=1).gather(1, i)


def highest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row and their places, (n, N) -> (n, k), as `torch.topk`, in fewer steps where N is large.

    A row's k highest lie in those k of its groups that have the highest maxima, so the rest need no selection.
    """
    n, columns = scores.shape
    size = math.isqrt(columns // k)  # of a group: then groups and candidates are equally many
    if size < 2:
        return scores.topk(k, dim=1)
    groups = columns // size
    whole = groups * size  # place p belongs to group p % groups, so that maxima are taken of whole stretches of memory
    best = scores[:, :whole].unflatten(1, (size, groups)).amax(1).topk(k, dim=1, sorted=False).indices
    members = best.unsqueeze(1) + groups * torch.arange(size, device=scores.device).unsqueeze(1)
    rest = torch.arange(whole, columns, device=scores.device).expand(n, -1)
    places = torch.cat([members.flatten(1), rest], dim=1)
    values, at = scores.gather(1, places).topk(k, dim=1)
    return values, places.gather(1, at)
