"""SimCLR: find a view's twin among all other views of the batch.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning
of Visual Representations", ICML 2020. https://arxiv.org/abs/2002.05709

Two views of the same image must be more alike than views of different images.
What the views have in common is what the network keeps, so the way they are
varied matters most; a projection in front of the loss lets the encoder keep
more than that (section 4.2). Negatives are the batch's other views: no memory.

Both views pass the encoder as one batch, as the authors' do, so that batch norm
sees all of them. NT-Xent is InfoNCE: log of the candidates less the loss bounds
from below what two views tell of each other, in nats (watched as ``bound``).

Where we differ: the recipe is the benchmark's, not LARS with batches of
thousands; colours are varied half as much, as on CIFAR, on larger images too.
The head has the batch norms of the authors' code, the last without weights, and
``linear`` has none. ``negatives`` can keep fewer of the others, drawn for each
view anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, distributed, require

from ._contrast import few, info_nce
from ._heads import mlp, spread
from ._views import SIMCLR, pair_panels, two_views


class SimCLR(Method):
    """Contrasts each view's projection with those of all others."""

    checkpoints: ClassVar = {
        "vissl_100ep": {
            "url": "vissl:simclr_rn50_100ep_simclr_8node_resnet_16_07_20.8edb093e/model_final_checkpoint_phase99.torch",
            "linear": 0.644,
        },
        "vissl_200ep": {
            "url": (
                "vissl:simclr_rn50_200ep_simclr_8node_resnet_16_07_20.a816c0ef/model_final_checkpoint_phase199.torch"
            ),
            "linear": 0.6661,
        },
        "vissl_400ep": {
            "url": (
                "vissl:simclr_rn50_400ep_simclr_8node_resnet_16_07_20.36b338ef/model_final_checkpoint_phase399.torch"
            ),
            "linear": 0.6771,
        },
        "vissl_800ep": {
            "url": (
                "vissl:simclr_rn50_800ep_simclr_8node_resnet_16_07_20.7e8feed1/model_final_checkpoint_phase799.torch"
            ),
            "linear": 0.6968,
        },
        "vissl_1000ep": {
            "url": (
                "vissl:simclr_rn50_1000ep_simclr_8node_resnet_16_07_20.afe428c7/model_final_checkpoint_phase999.torch"
            ),
            "linear": 0.688,
        },
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/simclr/simclr_resnet50_8xb32-coslr-200e_in1k/"
                "simclr_resnet50_8xb32-coslr-200e_in1k_20220825-15f807a4.pth"
            ),
            "linear": 0.627,
        },
        "mmselfsup_800ep": {
            "url": (
                "mmselfsup:1.x/simclr/simclr_resnet50_16xb256-coslr-800e_in1k/"
                "simclr_resnet50_16xb256-coslr-800e_in1k_20220825-85fcc4de.pth"
            ),
            "linear": 0.692,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_simclr_2023-06-22_09-11-13/pretrain/version_0/checkpoints/"
                "epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.632,
            "knn": 0.448,
        },
    }
    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        temperature: float = 0.5,
        projection: Literal["none", "linear", "mlp"] = "mlp",
        dim: int = 128,
        negatives: int | None = None,
        crop: float = 0.08,
    ) -> None:
        super().__init__(encoder, facts)
        require(temperature > 0, "simclr.temperature", temperature, "above 0")
        require(dim >= 2, "simclr.dim", dim, "at least 2")
        require(negatives is None or negatives >= 1, "simclr.negatives", negatives, "at least 1, or None for all")
        require(0 < crop <= 1, "simclr.crop", crop, "a share of the area, above 0 to 1")
        self.temperature, self.negatives, self.look = temperature, negatives, replace(SIMCLR, crop=crop)
        self.head: nn.Module = nn.Identity()
        if projection == "linear":
            self.head = nn.Linear(encoder.dim, dim, bias=False)
        elif projection == "mlp":
            self.head = mlp(encoder.dim, encoder.dim, dim, norm_last=True)

    def loss(self, batch: Batch) -> Tensor:
        """NT-Xent of every view against its twin and the others, averaged over the views (equation 1)."""
        z = self.projections(two_views(batch.images, self.look))
        self.logged["spread"] = spread(z)
        return info_nce(*few(*nt_xent(z, self.temperature), self.negatives), self.logged)

    def projections(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> unit vectors z (2 N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, whether the second is the likeliest twin of the first, and the most confusing other image."""
        views = two_views(batch.images, self.look)
        return pair_panels(views, self.projections(views))


def nt_xent(z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Unit vectors (2 N, dim), the twins N apart -> logits (2 N, M - 1), and the column of each one's twin (2 N,).

    The columns are the M views of all processes in the order of first and second views, but for the row's own.
    """
    first, second = z.chunk(2)
    every = torch.cat([distributed.gather(first), distributed.gather(second)])
    mine = distributed.rank() * len(first) + torch.arange(len(first), device=z.device)
    there = mine + len(every) // 2
    itself, twin = torch.cat([mine, there]).unsqueeze(1), torch.cat([there, mine])
    columns = torch.arange(len(every) - 1, device=z.device).expand(len(z), -1)
    with torch.autocast(z.device.type, enabled=False):
        likeness = z @ every.T / temperature
    return likeness.gather(1, columns + (columns >= itself).long()), twin - (twin > itself.squeeze(1)).long()
