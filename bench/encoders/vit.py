"""A vision transformer, by default small and with patches of 4 pixels for small images.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", ICLR 2021. https://arxiv.org/abs/2010.11929

The position embedding is fixed sines and cosines (Vaswani et al. 2017), so views may have any size.
There is no class token: the embedding is the mean of the last tap's feature maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, MultipleOf
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from ..errors import require
from ..plugins.ranges import Count
from . import Encoder

TAPS = 5


class ViT(Encoder):
    """timm's transformer blocks, with the taps conv1 … conv5 spread evenly over them."""

    patchwise: ClassVar = True

    def __init__(
        self,
        image_size: int,
        *,
        patch: Count = 4,  # pixels
        width: Annotated[int, Ge(4), MultipleOf(4)] = 128,
        depth: Annotated[int, Ge(5)] = 5,  # at least one block per tap
        heads: Count = 4,
    ) -> None:
        super().__init__()
        require(image_size % patch == 0, "vit.patch", patch, f"a divisor of the image's side, {image_size}")
        require(width % heads == 0, "vit.width", width, f"a multiple of vit.heads, {heads}")
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
        self.cut: nn.Module = network.patch_embed.proj  # checkpoints contain this name
        for n in range(TAPS):
            blocks = network.blocks[n * depth // TAPS : (n + 1) * depth // TAPS]
            self.stages[f"conv{n + 1}"] = nn.Sequential(*blocks, *([network.norm] if n == TAPS - 1 else []))
        self.widths = dict.fromkeys(self.stages, width)

    def patch_tokens(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> one token per patch with its position embedding, row by row (N, P, width)."""
        maps: Tensor = self.cut(self.prepare_images(images))
        positions: Tensor = build_sincos2d_pos_embed(list(maps.shape[-2:]), maps.shape[1], device=maps.device)
        return maps.flatten(2).transpose(1, 2) + positions

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens of all patches or of some (N, P, width) -> the last tap's features of these patches (N, P, width)."""
        for stage in self.stages.values():
            tokens = stage(tokens)
        return tokens

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, width, h, w), shallow to deep."""
        tokens, rows = self.patch_tokens(images), images.shape[-2] // self.patch
        for tap, stage in self.stages.items():
            tokens = stage(tokens)
            yield tap, tokens.transpose(1, 2).unflatten(2, (rows, -1))
