"""A transformer over a sequence of tokens, as captions and masked autoencoders' decoders need it."""

from __future__ import annotations

from torch import Tensor, nn


class Transformer(nn.Module):
    """Blocks that normalise before each part (Vaswani et al. 2017, in the form of Radford et al. 2019)."""

    def __init__(self, width: int, *, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (N, L, width) -> the same shape; ``mask`` (L, L) is minus infinity where a row may not look."""
        for block in self.blocks:
            tokens = block(tokens, src_mask=mask)
        return self.norm(tokens)
