"""Contrastive learning: pick the matching vector among candidates; its loss, and what is logged about it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Panel, without_autocast


@without_autocast
def pairwise_products(ones: Tensor, others: Tensor) -> Tensor:
    """Vectors (N, dim) and (M, dim) -> all inner products (N, M), which for unit vectors are cosines."""
    return ones @ others.T


def info_nce(logits: Tensor, answers: Tensor, logged: dict[str, Tensor]) -> Tensor:
    """Logits (N, K), the matching column int64 (N,) -> nats, a scalar (van den Oord et al. 2018, equation 4).

    Writes two numbers into ``logged``: ``accuracy``, how often the matching candidate scores highest, and ``bound``,
    log K - loss, a lower bound in nats on the information that the two sides share (section 2.3). A logit of minus
    infinity marks a column that is not a candidate.
    """
    loss = F.cross_entropy(logits, answers)
    logged["accuracy"] = (logits.argmax(1) == answers).float().mean()
    logged["bound"] = logits.isfinite().sum(1).log().mean() - loss.detach()
    return loss


def answers_in_first_column(logits: Tensor) -> Tensor:
    """The answers int64 (N,) to logits (N, K) whose matching candidate is always in the first column: zeros."""
    return torch.zeros(len(logits), dtype=torch.long, device=logits.device)


def draw_negatives(logits: Tensor, answers: Tensor, negatives: int | None) -> tuple[Tensor, Tensor]:
    """Logits (N, K) -> each row's matching logit and a random choice of its others (N, 1 + negatives), answers (N,).

    With None, or if there are not more than ``negatives`` others, all are kept.
    """
    if negatives is None or negatives >= logits.shape[1] - 1:
        return logits, answers
    priority = torch.rand_like(logits).scatter(1, answers.unsqueeze(1), 2.0)  # puts the matching column first
    logits = logits.gather(1, priority.topk(1 + negatives, dim=1).indices)
    return logits, answers_in_first_column(logits)


def nearest_panel(
    images: Tensor, queries: Tensor, keys: Tensor | None = None, *, title: str = "nearest other image"
) -> Panel:
    """For each unit query (N, dim) the image (N, 3, S, S) whose key (N, dim) is nearest, other than its own.

    Without keys the queries are compared with each other. Captions give the cosine.
    """
    cosines = (queries @ (queries if keys is None else keys).T).fill_diagonal_(-2)  # -2 is below every cosine
    highest, nearest = cosines.max(1)
    return Panel(title=title, images=images[nearest], captions=tuple(f"cosine {c:.2f}" for c in highest.tolist()))
