"""Momentum contrast (MoCo): find a view's twin among a queue of other images.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020. https://arxiv.org/abs/1911.05722

Contrast is a look-up: a query must match the key of another view of the same
image and no key of the queue. A queue makes the dictionary large; a key
encoder that follows slowly keeps its keys comparable (section 3.2).

Where we differ: one device plays the paper's several: keys pass in ``groups``
parts in shuffled order (section 3.3). Runs shorter than the paper's scale
momentum, queue and temperature to their length, since after a few hundred
steps a slow key encoder would still stand near its random start.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sslbench import Encoder, TrainInfo, augment

from ._dictionary import Dictionary


class MoCo(Dictionary):
    """Contrasts queries with their keys and with the queue."""

    checkpoints: ClassVar = {
        "v1_200ep": {
            "url": "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.606,
            "source": "https://github.com/facebookresearch/moco",
        },
        "v2_200ep": {
            "url": "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_200ep/moco_v2_200ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.677,
            "source": "https://github.com/facebookresearch/moco",
        },
        "v2_800ep": {
            "url": "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.711,
            "source": "https://github.com/facebookresearch/moco",
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"negatives": 2048, "momentum": 0.99, "temperature": 0.1, "groups": 2}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.07,
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
        """One linear layer."""
        return nn.Linear(inputs, outputs)

    def views(self, images: Tensor) -> Tensor:
        """The paper's views."""
        return views(images)


def views(images: Tensor) -> Tensor:
    """The paper's views (section 3.3 after Wu et al. 2018): crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.recoloured(augment.resized_crops(images), hue=0.4)
