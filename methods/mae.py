"""Masked autoencoder (MAE): paint three quarters of a picture from the patches that are left.

He, Chen, Xie, Li, Dollár and Girshick, "Masked Autoencoders Are Scalable Vision
Learners", CVPR 2022. https://arxiv.org/abs/2111.06377

One missing patch is told by its neighbours; where most are missing, only knowing what
the picture shows can help. The encoder, a vision transformer, is given the visible ones
alone. A decoder paints the others, each brought to mean 0 and variance 1 (section 3).

Where we differ: the encoder has no class token.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from sslbench import Batch, Method, Panel, TrainInfo, ViT, augment, require

from ._decoder import psnr
from ._heads import spread
from ._transformer import Transformer


class MAE(Method):
    """Encodes a quarter of the patches, decodes all, compares those that were hidden."""

    checkpoints: ClassVar = {
        "vit_b": {
            "url": "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
            "encoder": "timm/vit_base_patch16_224",
            "licence": "CC-BY-NC-4.0",
        },
        "vit_l": {
            "url": "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth",
            "encoder": "timm/vit_large_patch16_224",
            "licence": "CC-BY-NC-4.0",
        },
        "vit_h": {
            "url": "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_huge.pth",
            "encoder": "timm/vit_huge_patch14_224",
            "licence": "CC-BY-NC-4.0",
        },
        "lightly_vit_b": {
            "url": (
                "lightly:vitb16_mae_2024-02-25_19-57-30/pretrain/version_0/checkpoints/epoch%3D99-step%3D500400.ckpt"
            ),
            "encoder": "timm/vit_base_patch16_224",
            "linear": 0.46,
            "knn": 0.112,
        },
    }
    encoder: ViT
    input_mode: ClassVar = "patches"
    short_run_settings: ClassVar = {"width": 64, "depth": 1, "heads": 4}

    def __init__(
        self,
        encoder: ViT,
        facts: TrainInfo,
        *,
        mask: float = 0.75,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        normalise: bool = True,
        crop: float = 0.2,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 < mask < 1, "mae.mask", mask, "a share of the patches between 0 and 1")
        require(depth >= 1, "mae.depth", depth, "at least 1")
        require(heads >= 1, "mae.heads", heads, "at least 1")
        whole = width >= 1 and width % 4 == 0 and width % heads == 0
        require(whole, "mae.width", width, f"a multiple of 4 and of mae.heads, {heads}")
        require(0 < crop <= 1, "mae.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= flip <= 1, "mae.flip", flip, "a probability")
        self.grid, self.patch = facts.image_size // encoder.patch, encoder.patch
        require(self.grid >= 2, "vit.patch", encoder.patch, "at most half the image's side")
        self.visible = min(max(1, round(self.grid**2 * (1 - mask))), self.grid**2 - 1)
        self.views_per_image = self.visible / self.grid**2
        self.normalise, self.crop, self.flip = normalise, crop, flip
        self.enter = nn.Linear(encoder.dim, width)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.decoder = Transformer(width, depth=depth, heads=heads)
        self.answer = nn.Linear(width, 3 * encoder.patch**2)

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the hidden patches' values."""
        views = augment.resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        painted, hidden = self.painted(views)
        truth = self.values(views)[0]
        error = ((painted - truth).square().mean(2) * hidden).sum() / hidden.sum()
        blind = truth.var((0, 1), correction=0).mean()  # the error of the best answer that looks at nothing
        self.logged["unexplained"] = error.detach() / blind
        return error

    def values(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (N, 3, S, S) -> what is to be painted (N, P, V), and each patch's mean and spread (N, P, 1)."""
        pixels = F.unfold(views, self.patch, stride=self.patch).transpose(1, 2)
        if not self.normalise:
            return pixels, pixels.new_zeros(()), pixels.new_ones(())
        variance, mean = torch.var_mean(pixels, 2, keepdim=True)
        deviation = (variance + 1e-6).sqrt()
        return (pixels - mean) / deviation, mean, deviation

    def painted(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Views (N, 3, S, S) -> the decoder's values of each patch (N, P, V), and which were hidden, bool (N, P)."""
        tokens = self.encoder.tokens(views)
        places = torch.rand(tokens.shape[:2], device=views.device).argsort(1)[:, : self.visible].unsqueeze(2)
        features = self.encoder.encoded(tokens.gather(1, places.expand(-1, -1, tokens.shape[2])))
        self.logged["spread"] = spread(features.mean(1))
        seen = self.enter(features).float()
        whole = self.token.expand(*tokens.shape[:2], -1).scatter(1, places.expand_as(seen), seen)
        whole = whole + build_sincos2d_pos_embed([self.grid, self.grid], whole.shape[2], device=views.device)
        hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=views.device).scatter(1, places[..., 0], False)
        return self.answer(self.decoder(whole)).float(), hidden

    def panels(self, batch: Batch) -> list[Panel]:
        """The patches that the encoder sees, what the decoder paints in place of the others, and the picture."""
        images = augment.floats(batch.images)
        painted, hidden = self.painted(images)
        truth, mean, deviation = self.values(images)
        pixels = truth * deviation + mean
        filled = torch.where(hidden.unsqueeze(2), (painted * deviation + mean).clamp(0, 1), pixels)
        decibels = psnr((filled - pixels).square().mean(2).sum(1) / hidden.sum(1)).tolist()
        return [
            Panel(title="visible patches", images=self.pictures(torch.where(hidden.unsqueeze(2), 0.5, pixels))),
            Panel(
                title="painted, given each patch's mean and spread" if self.normalise else "painted",
                images=self.pictures(filled),
                captions=tuple(f"{value:.1f} dB" for value in decibels),
            ),
            Panel(title="image", images=batch.images),
        ]

    def pictures(self, pixels: Tensor) -> Tensor:
        """Patches (N, P, V) -> images (N, 3, S, S)."""
        return F.fold(pixels.transpose(1, 2), self.grid * self.patch, self.patch, stride=self.patch).clamp(0, 1)
