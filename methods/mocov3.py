"""MoCo v3: predict each view's key among the batch's, without a queue.

Chen, Xie and He, "An Empirical Study of Training Self-Supervised Vision
Transformers", ICCV 2021. https://arxiv.org/abs/2104.02057

With a large batch the keys of its other images are negatives enough. Each view
is query once and key once (algorithm 1); the query encoder ends in a predictor
that the key encoder, its moving average, does not have; the loss is scaled by
twice the temperature. ``negatives`` can keep fewer of the others' keys.

Where we differ: no frozen patch projection, which was for transformers. Both
heads end in a batch norm, as in the paper; the predictor of the authors' last
code for ResNet-50 does not. Defaults are the authors' for ResNet-50 at 100
epochs, whose temperature is 1; shorter runs have smaller batches, and take the
lower temperature of their transformers, under which the nearest negatives weigh
more, and narrower heads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, distributed, require

from ._contrast import few, info_nce, products
from ._heads import mlp, spread
from ._momentum import follow, in_groups, risen, teacher_of
from ._views import BYOL, pair_panels, two_views

LOOKS = tuple(replace(look, crop=0.2) for look in BYOL)  # the authors' crops for ResNet-50


class MoCoV3(Method):
    """Contrasts predictions from each view with the keys of the other."""

    checkpoints: ClassVar = {
        "rn50_100ep": {
            "url": "https://dl.fbaipublicfiles.com/moco-v3/r-50-100ep/r-50-100ep.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.689,
            "source": "https://github.com/facebookresearch/moco-v3",
        },
        "rn50_300ep": {
            "url": "https://dl.fbaipublicfiles.com/moco-v3/r-50-300ep/r-50-300ep.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.728,
            "source": "https://github.com/facebookresearch/moco-v3",
        },
        "rn50_1000ep": {
            "url": "https://dl.fbaipublicfiles.com/moco-v3/r-50-1000ep/r-50-1000ep.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.746,
            "source": "https://github.com/facebookresearch/moco-v3",
        },
        "vit_s": {
            "url": "https://dl.fbaipublicfiles.com/moco-v3/vit-s-300ep/vit-s-300ep.pth.tar",
            "encoder": "timm/vit_small_patch16_224",
            "settings": {"heads": 12},
            "licence": "CC-BY-NC-4.0",
            "linear": 0.732,
            "source": "https://github.com/facebookresearch/moco-v3",
        },
        "vit_b": {
            "url": "https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar",
            "encoder": "timm/vit_base_patch16_224",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.767,
            "source": "https://github.com/facebookresearch/moco-v3",
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"temperature": 0.2, "hidden": 512}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        momentum: float = 0.99,
        temperature: float = 1.0,
        negatives: int | None = None,
        hidden: int = 4096,
        dim: int = 256,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 <= momentum <= 1, "mocov3.momentum", momentum, "from 0 to 1")
        require(temperature > 0, "mocov3.temperature", temperature, "above 0")
        require(negatives is None or negatives >= 1, "mocov3.negatives", negatives, "at least 1, or None for all")
        require(hidden >= 1, "mocov3.hidden", hidden, "at least 1")
        require(dim >= 2, "mocov3.dim", dim, "at least 2")
        self.momentum, self.temperature, self.negatives = momentum, temperature, negatives
        self.query = nn.Sequential(encoder, mlp(encoder.dim, hidden, dim, norm_last=True))
        self.predictor = mlp(dim, hidden, dim, norm_last=True)
        self.key = teacher_of(self.query)

    def loss(self, batch: Batch) -> Tensor:
        """ctr(q1, k2) + ctr(q2, k1) (algorithm 1)."""
        (q1, q2), (k1, k2) = self.queries_and_keys(two_views(batch.images, *LOOKS))
        self.logged["spread"] = spread(q1)
        return self.ctr(q1, k2) + self.ctr(q2, k1)

    def queries_and_keys(self, views: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views (2 N, 3, S, S) -> unit queries of the first and the second views (N, dim), and their keys.

        Either view's batch has its own batch statistics, as in the authors' code.
        """
        q = F.normalize(in_groups(self.predictor, in_groups(self.query, views, 2), 2).float(), dim=1)
        with torch.no_grad():
            k = F.normalize(in_groups(self.key, views, 2).float(), dim=1)
        return q.chunk(2), k.chunk(2)

    def ctr(self, q: Tensor, k: Tensor) -> Tensor:
        """2 tau times the cross-entropy of each query's own key among the keys (N, dim) of all processes."""
        answers = distributed.rank() * len(q) + torch.arange(len(q), device=q.device)
        logits, answers = few(products(q, distributed.gather(k)) / self.temperature, answers, self.negatives)
        return 2 * self.temperature * info_nce(logits, answers, self.logged)

    def after_step(self, progress: float) -> None:
        """The key encoder follows, ever more slowly: its momentum rises to 1 along a cosine (section 4.1)."""
        follow(self.key, self.query, risen(self.momentum, progress))

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, the rank of the second's key to the first's query, and the nearest other key."""
        views = two_views(batch.images, *LOOKS)
        (q1, _), (_, k2) = self.queries_and_keys(views)
        return pair_panels(views, torch.cat([q1, k2]))
