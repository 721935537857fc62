"""SimCLR: find the other view of the same image among all other views of the batch.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning
of Visual Representations", ICML 2020. https://arxiv.org/abs/2002.05709

Two views of the same image must be more similar than views of different images.
The network learns what the two views have in common, so the augmentation matters
most. A projection head in front of the loss lets the encoder keep information that
the loss discards (section 4.2). Negatives are the batch's other views; there is no
memory.

Both views are encoded as one batch, as in the authors' code, and share batch
statistics. NT-Xent is an InfoNCE loss: the log of the number of candidates minus
the loss is a lower bound, in nats, on the information that two views share
(logged as ``bound``).

Where we differ: the recipe is the benchmark's, not LARS with batches of thousands;
colours change half as much, as in the paper's CIFAR experiments, at every image
size. The head has batch norms as in the authors' code, the last without weights,
and ``linear`` has none. ``negatives`` keeps fewer of the other views, drawn at
random for each view.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import (
    Batch,
    Count,
    Encoder,
    Method,
    Panel,
    Positive,
    PositiveShare,
    TrainInfo,
    distributed,
    without_autocast,
)

from ._contrast import draw_negatives, info_nce
from ._heads import mlp, spread
from ._views import SIMCLR, pair_panels, two_views


class SimCLR(Method):
    """Contrasts each view's projection with those of all other views."""

    year = 2020
    kind = "contrastive"
    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        temperature: Positive = 0.5,
        projection: Literal["none", "linear", "mlp"] = "mlp",
        dim: Annotated[int, Ge(2)] = 128,
        negatives: Count | None = None,
        crop: PositiveShare = 0.08,  # the smallest crop's share of the area
    ) -> None:
        super().__init__(encoder, train_info)
        self.temperature, self.negatives, self.augmentation = temperature, negatives, replace(SIMCLR, crop=crop)
        self.head: nn.Module = nn.Identity()
        if projection == "linear":
            self.head = nn.Linear(encoder.dim, dim, bias=False)
        elif projection == "mlp":
            self.head = mlp(encoder.dim, encoder.dim, dim, norm_last=True)

    def loss(self, batch: Batch) -> Tensor:
        """NT-Xent of each view with the other view of its image among all views, averaged over views (equation 1)."""
        z = self.project(two_views(batch.images, self.augmentation))
        self.logged["spread"] = spread(z)
        return info_nce(*draw_negatives(*nt_xent_logits(z, self.temperature), self.negatives), self.logged)

    def project(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> unit vectors z (2 N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, the rank of the second view for the first view, and the most similar view of another image."""
        views = two_views(batch.images, self.augmentation)
        return pair_panels(views, self.project(views))


@without_autocast
def nt_xent_logits(z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Unit vectors (2 N, dim) of first and then second views -> logits (2 N, M - 1), and the matching columns (2 N,).

    The columns are the M views of all processes, first views before second views, without the row's own view.
    """
    first, second = z.chunk(2)
    every = torch.cat([distributed.gather(first), distributed.gather(second)])
    mine = distributed.rank() * len(first) + torch.arange(len(first), device=z.device)
    there = mine + len(every) // 2
    itself, match = torch.cat([mine, there]).unsqueeze(1), torch.cat([there, mine])
    columns = torch.arange(len(every) - 1, device=z.device).expand(len(z), -1)
    logits = z @ every.T / temperature
    return logits.gather(1, columns + (columns >= itself).long()), match - (match > itself.squeeze(1)).long()
