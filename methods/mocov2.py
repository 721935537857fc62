"""MoCo v2: momentum contrast with SimCLR's projection head and blur.

Chen, Fan, Girshick and He, "Improved Baselines with Momentum Contrastive
Learning", 2020. https://arxiv.org/abs/2003.04297

The queue of MoCo (He et al., CVPR 2020) does without SimCLR's large batches, and
what made SimCLR better carries over: a hidden layer in front of the loss, which
lets the encoder keep more than the loss needs, blurred views with milder hues, a
higher temperature, and a rate that falls along a cosine (table 1).

Where we differ: the rate of all methods here falls along a cosine, MoCo's too. One
device plays the paper's several: keys pass in ``groups`` parts in shuffled order.
Below 64 pixels views are not blurred. Runs shorter than the paper's scale
momentum and queue to their length, since after a few hundred steps a slow key
encoder would still stand near its random start.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sslbench import Encoder, TrainInfo

from ._dictionary import Dictionary
from ._heads import mlp
from ._views import MOCO, view


class MoCoV2(Dictionary):
    """Contrasts queries with their keys and with the queue, through a hidden layer."""

    checkpoints: ClassVar = {
        "vissl_200ep": {
            "url": "vissl:moco_v2_1node_lr.03_step_b32_zero_init/model_final_checkpoint_phase199.torch",
            "linear": 0.664,
        },
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k/"
                "mocov2_resnet50_8xb32-coslr-200e_in1k_20220825-b6d23c86.pth"
            ),
            "linear": 0.675,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_mocov2_2024-02-18_10-29-14/pretrain/version_0/checkpoints/"
                "epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.615,
            "knn": 0.418,
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"negatives": 2048, "momentum": 0.99, "groups": 2}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
        dim: int = 128,
        shuffle_bn: bool = True,
        groups: int = 8,
    ) -> None:
        super().__init__(
            encoder,
            facts,
            negatives=negatives,
            momentum=momentum,
            temperature=temperature,
            dim=dim,
            shuffle_bn=shuffle_bn,
            groups=groups,
        )

    def head(self, inputs: int, outputs: int) -> nn.Module:
        """Two linear layers with ReLU between them, as wide as the embedding."""
        return mlp(inputs, inputs, outputs, norm=False)

    def views(self, images: Tensor) -> Tensor:
        """Crop, mirror, colour jitter, grey, blur; floats (N, 3, S, S)."""
        return view(images, MOCO)
