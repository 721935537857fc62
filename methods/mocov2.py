"""MoCo v2: momentum contrast with SimCLR's projection head and blur.

Chen, Fan, Girshick and He, "Improved Baselines with Momentum Contrastive
Learning", 2020. https://arxiv.org/abs/2003.04297

MoCo's queue (He et al., CVPR 2020) makes SimCLR's large batches unnecessary, and
SimCLR's improvements help MoCo too: a projection head with a hidden layer, so that
the encoder can keep information which the loss discards, blurred views with weaker
changes of hue, a higher temperature, and a cosine learning rate schedule (table 1).

Where we differ: all methods here have a cosine schedule, MoCo included. The paper
shuffles keys among several GPUs; one GPU does the same by encoding them in
``groups`` parts. Images of less than 64 pixels are not blurred. Runs shorter than
the paper's have a lower momentum and a shorter queue, since after a few hundred
steps a key encoder with the paper's momentum is still close to its random start.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Count, Encoder, Positive, ShareBelowOne, TrainInfo

from ._dictionary import MomentumContrast
from ._heads import mlp
from ._views import MOCO, random_view


class MoCoV2(MomentumContrast):
    """Contrasts queries with their keys and with the queue, through a projection head with a hidden layer."""

    year = 2020
    kind = "contrastive"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"negatives": 2048, "momentum": 0.99, "groups": 2}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: Count = 65536,
        momentum: ShareBelowOne = 0.999,
        temperature: Positive = 0.2,
        dim: Annotated[int, Ge(2)] = 128,
        shuffle_bn: bool = True,
        groups: Count = 8,
    ) -> None:
        super().__init__(
            encoder,
            train_info,
            negatives=negatives,
            momentum=momentum,
            temperature=temperature,
            dim=dim,
            shuffle_bn=shuffle_bn,
            groups=groups,
        )

    def projection_head(self, inputs: int, outputs: int) -> nn.Module:
        """The projection: two linear layers with ReLU between them; the hidden one is as wide as the embedding."""
        return mlp(inputs, inputs, outputs, norm=False)

    def draw_views(self, images: Tensor) -> Tensor:
        """One view of each image: crop, mirror, colour jitter, grey, blur; floats (N, 3, S, S)."""
        return random_view(images, MOCO)
