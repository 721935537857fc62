"""Finding the right one among candidates: the loss of contrastive methods, and what is logged of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Panel, augment


@augment.in_full_precision
def products(ones: Tensor, others: Tensor) -> Tensor:
    """Vectors (N, dim) and (M, dim) -> the product of each with each (N, M): cosines, where their length is 1."""
    return ones @ others.T


def info_nce(logits: Tensor, answers: Tensor, logged: dict[str, Tensor]) -> Tensor:
    """Logits (N, K), the column that is right int64 (N,) -> nats, a scalar (van den Oord et al. 2018, equation 4).

    Writes into ``logged`` how often the right one scores highest (``accuracy``), and log K - loss (``bound``): so
    many nats the two sides tell of each other at least (section 2.3). What scores minus infinity is no candidate.
    """
    loss = F.cross_entropy(logits, answers)
    logged["accuracy"] = (logits.argmax(1) == answers).float().mean()
    logged["bound"] = logits.isfinite().sum(1).log().mean() - loss.detach()
    return loss


def first_right(logits: Tensor) -> Tensor:
    """The answers (N,) where the right candidate is each row's first."""
    return torch.zeros(len(logits), dtype=torch.long, device=logits.device)


def few(logits: Tensor, answers: Tensor, negatives: int | None) -> tuple[Tensor, Tensor]:
    """Keeps the right one of each row (N, K) and ``negatives`` others, drawn anew: (N, 1 + negatives) and answers (N,).

    None, or as many as there are, keeps all.
    """
    if negatives is None or negatives >= logits.shape[1] - 1:
        return logits, answers
    lots = torch.rand_like(logits).scatter(1, answers.unsqueeze(1), 2.0)  # the right one is drawn first
    logits = logits.gather(1, lots.topk(1 + negatives, dim=1).indices)
    return logits, first_right(logits)


def nearest_panel(
    images: Tensor, queries: Tensor, keys: Tensor | None = None, *, title: str = "nearest other image"
) -> Panel:
    """For each unit query (N, dim) the image (N, 3, S, S) of the nearest other key (N, dim), and the cosine.

    The queries are the keys where none are given.
    """
    likeness = queries @ (queries if keys is None else keys).T
    cosines, nearest = likeness.fill_diagonal_(-2).max(1)  # -2 is below every cosine
    return Panel(title=title, images=images[nearest], captions=tuple(f"cosine {c:.2f}" for c in cosines.tolist()))
