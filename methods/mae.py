"""Masked autoencoder (MAE): reconstruct three quarters of an image's patches from the remaining quarter.

He, Chen, Xie, Li, Dollár and Girshick, "Masked Autoencoders Are Scalable Vision
Learners", CVPR 2022. https://arxiv.org/abs/2111.06377

A single missing patch could be interpolated from its neighbours. If most patches are
missing, the network must understand what the image shows. The encoder, a vision
transformer, is given the visible patches only. A small decoder reconstructs the hidden
ones, each normalised to mean 0 and variance 1 (section 3).

Where we differ: the encoder has no class token.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval, MultipleOf
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor, nn

from sslbench import Batch, Count, Method, Panel, PositiveShare, Share, TrainInfo, ViT, augment, require

from ._decoder import psnr
from ._heads import spread
from ._transformer import Transformer


class MAE(Method):
    """Encodes the visible patches, decodes all patches and compares the hidden ones with the image."""

    year = 2022
    kind = "generative"
    encoder: ViT
    input_mode: ClassVar = "patches"
    short_run_settings: ClassVar = {"width": 64, "depth": 1, "heads": 4}

    def __init__(
        self,
        encoder: ViT,
        train_info: TrainInfo,
        *,
        mask: Annotated[float, Interval(gt=0, lt=1)] = 0.75,  # share of hidden patches
        width: Annotated[int, Ge(4), MultipleOf(4)] = 512,
        depth: Count = 8,
        heads: Count = 16,
        normalise: bool = True,
        crop: PositiveShare = 0.2,
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        require(width % heads == 0, "mae.width", width, f"a multiple of mae.heads, {heads}")
        self.grid, self.patch = train_info.image_size // encoder.patch, encoder.patch
        require(self.grid >= 2, "vit.patch", encoder.patch, "at most half the image's side")
        self.visible = min(max(1, round(self.grid**2 * (1 - mask))), self.grid**2 - 1)
        self.views_per_image = self.visible / self.grid**2
        self.normalise, self.crop, self.flip = normalise, crop, flip
        self.decoder_input = nn.Linear(encoder.dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.decoder = Transformer(width, depth=depth, heads=heads)
        self.decoder_output = nn.Linear(width, 3 * encoder.patch**2)

    def loss(self, batch: Batch) -> Tensor:
        """Squared error of the hidden patches, averaged over their values."""
        views = augment.random_resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        predictions, hidden = self.reconstruct(views)
        targets = self.patch_targets(views)[0]
        error = ((predictions - targets).square().mean(2) * hidden).sum() / hidden.sum()
        baseline = targets.var((0, 1), correction=0).mean()  # error of predicting the same mean patch everywhere
        self.logged["unexplained"] = error.detach() / baseline
        return error

    def patch_targets(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (N, 3, S, S) -> target values (N, P, V) of the patches, and each patch's mean and std (N, P, 1)."""
        pixels = F.unfold(views, self.patch, stride=self.patch).transpose(1, 2)
        if not self.normalise:
            return pixels, pixels.new_zeros(()), pixels.new_ones(())
        variance, mean = torch.var_mean(pixels, 2, keepdim=True)
        std = (variance + 1e-6).sqrt()
        return (pixels - mean) / std, mean, std

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Views (N, 3, S, S) -> predicted values of all patches (N, P, V), and which were hidden, bool (N, P)."""
        tokens = self.encoder.patch_tokens(views)
        places = torch.rand(tokens.shape[:2], device=views.device).argsort(1)[:, : self.visible].unsqueeze(2)
        features = self.encoder.encode_tokens(tokens.gather(1, places.expand(-1, -1, tokens.shape[2])))
        self.logged["spread"] = spread(features.mean(1))
        visible = self.decoder_input(features).float()
        sequence = self.mask_token.expand(*tokens.shape[:2], -1).scatter(1, places.expand_as(visible), visible)
        sequence = sequence + build_sincos2d_pos_embed([self.grid] * 2, sequence.shape[2], device=views.device)
        hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=views.device).scatter(1, places[..., 0], False)
        return self.decoder_output(self.decoder(sequence)).float(), hidden

    def panels(self, batch: Batch) -> list[Panel]:
        """The visible patches, the image with the hidden patches reconstructed, and the original image."""
        images = augment.to_float(batch.images)
        predictions, hidden = self.reconstruct(images)
        targets, mean, std = self.patch_targets(images)
        pixels = targets * std + mean
        filled = torch.where(hidden.unsqueeze(2), (predictions * std + mean).clamp(0, 1), pixels)
        decibels = psnr((filled - pixels).square().mean(2).sum(1) / hidden.sum(1)).tolist()
        return [
            Panel(title="visible patches", images=self.join_patches(torch.where(hidden.unsqueeze(2), 0.5, pixels))),
            Panel(
                title="reconstructed, with the true mean and std of patches" if self.normalise else "reconstructed",
                images=self.join_patches(filled),
                captions=tuple(f"{value:.1f} dB" for value in decibels),
            ),
            Panel(title="image", images=batch.images),
        ]

    def join_patches(self, pixels: Tensor) -> Tensor:
        """Patches (N, P, V) -> images (N, 3, S, S) in [0, 1]."""
        return F.fold(pixels.transpose(1, 2), self.grid * self.patch, self.patch, stride=self.patch).clamp(0, 1)
