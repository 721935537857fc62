"""A vision transformer, small enough for small pictures: squares of a picture attend to each other.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", ICLR 2021. https://arxiv.org/abs/2010.11929

Places are told by fixed sines and cosines (Vaswani et al. 2017), so views of any size
can be seen. There is no class token: the embedding is the mean of the last tap's maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from timm.layers import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from ..errors import require
from . import Encoder

TAPS = 5


class ViT(Encoder):
    """timm's blocks, spread evenly over the taps conv1 … conv5; all maps are as wide as the tokens."""

    patchwise: ClassVar = True

    def __init__(self, image_size: int, *, patch: int = 4, width: int = 128, depth: int = 5, heads: int = 4) -> None:
        super().__init__()
        require(patch >= 1 and image_size % patch == 0, "vit.patch", patch, f"a divisor of the side, {image_size}")
        require(depth >= TAPS, "vit.depth", depth, f"at least {TAPS}, one block a tap")
        require(heads >= 1, "vit.heads", heads, "at least 1")
        whole = width >= 1 and width % 4 == 0 and width % heads == 0
        require(whole, "vit.width", width, f"a multiple of 4 and of vit.heads, {heads}")
        network: Any = VisionTransformer(
            img_size=image_size,
            patch_size=patch,
            num_classes=0,
            global_pool="",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            class_token=False,
            pos_embed="none",
        )
        self.patch = patch
        self.cut: nn.Module = network.patch_embed.proj
        for n in range(TAPS):
            blocks = network.blocks[n * depth // TAPS : (n + 1) * depth // TAPS]
            self.stages[f"conv{n + 1}"] = nn.Sequential(*blocks, *([network.norm] if n == TAPS - 1 else []))
        self.widths = dict.fromkeys(self.stages, width)

    def tokens(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> a token for each patch that knows its place, row by row (N, P, width)."""
        maps = self.cut(self.prepared(images))
        places = build_sincos2d_pos_embed(list(maps.shape[-2:]), maps.shape[1], device=maps.device)
        return maps.flatten(2).transpose(1, 2) + places

    def encoded(self, tokens: Tensor) -> Tensor:
        """The tokens of all patches, or of some (N, P, width) -> the last tap's features at their places."""
        for stage in self.stages.values():
            tokens = stage(tokens)
        return tokens

    def maps(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, width, h, w), shallow to deep."""
        tokens, rows = self.tokens(images), images.shape[-2] // self.patch
        for tap, stage in self.stages.items():
            tokens = stage(tokens)
            yield tap, tokens.transpose(1, 2).unflatten(2, (rows, -1))
