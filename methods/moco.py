"""Momentum contrast (MoCo): find the other view of the same image among a queue of other images.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020. https://arxiv.org/abs/1911.05722

Contrastive learning is a dictionary look-up: a query must match the key of
another view of the same image, and none of the keys in a queue. The queue makes
the dictionary large. The key encoder is a moving average of the query encoder,
and changes so slowly that keys of different age are comparable (section 3.2).

Where we differ: the paper shuffles keys among several GPUs so that a query and
its key have different batch statistics (section 3.3); one GPU does the same by
encoding them in ``groups`` parts. Runs shorter than the paper's have a lower
momentum, a shorter queue and a higher temperature, since after a few hundred
steps a key encoder with the paper's momentum is still close to its random start.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Count, Encoder, Positive, ShareBelowOne, TrainInfo, augment

from ._dictionary import MomentumContrast


class MoCo(MomentumContrast):
    """Contrasts queries with their keys and with the queue."""

    year = 2020
    kind = "contrastive"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"negatives": 2048, "momentum": 0.99, "temperature": 0.1, "groups": 2}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: Count = 65536,
        momentum: ShareBelowOne = 0.999,
        temperature: Positive = 0.07,
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
        """The projection: one linear layer."""
        return nn.Linear(inputs, outputs)

    def draw_views(self, images: Tensor) -> Tensor:
        """One view of each image."""
        return moco_views(images)


def moco_views(images: Tensor) -> Tensor:
    """One view of each image, as in Wu et al. 2018: crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.colour_jitter(augment.random_resized_crops(images), hue=0.4)
