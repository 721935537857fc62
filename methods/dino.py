"""DINO: tell from a part of an image what a slow copy of the network makes of the whole.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin, "Emerging Properties
in Self-Supervised Vision Transformers", ICCV 2021. https://arxiv.org/abs/2104.14294

A teacher, the moving average of the student, assigns large views to prototypes
that nobody named; the student must do the same from the other large view and from
small crops. Centring the teacher's scores keeps one prototype from winning always,
and sharpening them (a low temperature) keeps all from being alike: either alone
collapses, together they do not (section 5.3; ``entropy`` and ``spread`` show it).

Where we differ: the benchmark's recipe, whose weight decay does not rise. Shorter
runs have fewer prototypes, which hold still throughout, and fewer small crops; a
teacher that follows faster, since after a few hundred steps a slow one would still
stand near its random start; and a narrower head that ends in a batch norm
(``norm_last``), since else embeddings share a mean that hides what tells them apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, distributed, require

from ._heads import mlp, spread
from ._momentum import follow, risen, teacher_of
from ._prototypes import Prototypes, prototype_panels, swapped
from ._views import BYOL, crops, small_crops, two_views


class DINO(Method):
    """Tells the teacher's assignment of each large view from the others."""

    checkpoints: ClassVar = {
        "rn50": {
            "url": "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
            "licence": "Apache-2.0",
            "linear": 0.753,
            "source": "https://github.com/facebookresearch/dino",
        },
        "vit_s16": {
            "url": "https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
            "encoder": "timm/vit_small_patch16_224",
            "licence": "Apache-2.0",
        },
        "vit_s8": {
            "url": "https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth",
            "encoder": "timm/vit_small_patch8_224",
            "licence": "Apache-2.0",
        },
        "vit_b16": {
            "url": "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
            "encoder": "timm/vit_base_patch16_224",
            "licence": "Apache-2.0",
        },
        "vit_b8": {
            "url": "https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth",
            "encoder": "timm/vit_base_patch8_224",
            "licence": "Apache-2.0",
        },
        "vissl_vit_s16": {
            "url": "vissl:dino_300ep_deitsmall16/model_final_checkpoint_phase299.torch",
            "encoder": "timm/vit_small_patch16_224",
            "knn": 0.734,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_dino_2023-06-06_13-59-48/pretrain/version_0/checkpoints/"
                "epoch%3D99-step%3D1000900.ckpt"
            ),
            "linear": 0.682,
            "knn": 0.499,
        },
    }
    centre: Tensor  # (prototypes,), the running mean of the teacher's scores
    short_run_settings: ClassVar = {
        "prototypes": 256,
        "momentum": 0.97,
        "frozen": 100.0,
        "small": 2,
        "hidden": 512,
        "dim": 64,
        "norm_last": True,
    }

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        prototypes: int = 65536,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.996,
        centring: float = 0.9,
        frozen: float = 1.0,
        small: int = 8,
        crop: float = 0.4,
        hidden: int = 2048,
        dim: int = 256,
        norm_last: bool = False,
    ) -> None:
        super().__init__(encoder, facts)
        require(prototypes >= 2, "dino.prototypes", prototypes, "at least 2")
        require(temperature > 0, "dino.temperature", temperature, "above 0")
        require(teacher_temperature > 0, "dino.teacher_temperature", teacher_temperature, "above 0")
        require(0 <= momentum <= 1, "dino.momentum", momentum, "from 0 to 1")
        require(0 <= centring <= 1, "dino.centring", centring, "the old centre's share, from 0 to 1")
        require(frozen >= 0, "dino.frozen", frozen, "epochs, 0 or more")
        require(small >= 0, "dino.small", small, "0 or more")
        require(0.05 <= crop <= 1, "dino.crop", crop, "the area between small and large crops, a share from 0.05 to 1")
        require(hidden >= 1, "dino.hidden", hidden, "at least 1")
        require(dim >= 2, "dino.dim", dim, "at least 2")
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum, self.centring, self.small = momentum, centring, small
        self.looks = tuple(replace(look, crop=crop) for look in BYOL)
        self.view_size, self.views_per_image = crops(facts.image_size, small)
        head = mlp(encoder.dim, hidden, hidden, dim, norm=False, norm_last=norm_last, between=nn.GELU)
        self.prototypes = Prototypes(dim, prototypes, frozen * facts.images)
        self.student = nn.Sequential(nn.Sequential(encoder, head), self.prototypes)
        self.teacher = teacher_of(self.student)
        self.register_buffer("centre", torch.zeros(prototypes))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the teacher's assignment of each large view from every other view (equation 3)."""
        embed, large = self.student[0], two_views(batch.images, *self.looks)
        z = [embed(large)]
        if self.small:
            z.append(embed(small_crops(batch.images, replace(self.looks[0], blur=0.5), self.small)))
        with torch.no_grad():
            scores = self.teacher(large)
        self.newest = scores.mean(0), len(batch.images)
        targets = self.sharpened(scores)
        self.logged["entropy"] = torch.special.entr(targets).sum(1).mean()
        self.logged["spread"] = spread(z[0])
        logits = self.prototypes(torch.cat(z)) / self.temperature
        return swapped(targets.unflatten(0, (2, -1)), logits.unflatten(0, (-1, len(batch.images))))

    def sharpened(self, scores: Tensor) -> Tensor:
        """The teacher's scores (M, prototypes) -> what it assigns the views to, in shares."""
        return ((scores - self.centre) / self.teacher_temperature).softmax(1)

    def after_step(self, progress: float) -> None:
        """The teacher follows, ever more slowly (section 3.1); the centre follows its scores (equation 4)."""
        mean, images = self.newest
        self.centre.copy_(torch.lerp(distributed.gather(mean.unsqueeze(0)).mean(0), self.centre, self.centring))
        follow(self.teacher, self.student, risen(self.momentum, progress))
        self.prototypes.seen += distributed.world_size() * images

    def panels(self, batch: Batch) -> list[Panel]:
        """A view with the teacher's prototype, what the student says of it from another, and which other is like it."""
        first, second = two_views(batch.images, *self.looks).chunk(2)
        guesses = (self.student(second) / self.temperature).softmax(1)
        return prototype_panels(first, self.sharpened(self.teacher(first)), second, guesses)
