"""A transformer over a sequence of tokens: the caption encoder of CLIP and the decoder of masked autoencoders."""

from __future__ import annotations

from torch import Tensor, nn


class Transformer(nn.Module):
    """Transformer blocks with the layer norm before each part (Vaswani et al. 2017, as in Radford et al. 2019)."""

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
        """Tokens (N, L, width) -> the same shape; a row of ``mask`` (L, L) is true where its token must not attend."""
        for block in self.blocks:
            tokens = block(tokens, src_mask=mask)
        outputs: Tensor = self.norm(tokens)
        return outputs
