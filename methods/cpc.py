"""Contrastive predictive coding (CPC): tell what comes next in a sequence from everything else.

Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
Coding", 2018. https://arxiv.org/abs/1807.03748

What comes next can be foretold as far as one knows what is shown. Each part of a sequence is encoded
by itself to z_t, a context c_t sums up what has been read, and the product of W_k c_t with z_{t+k} is to
beat those with others (equation 4). Of ``rows`` of patches each foretells those below; ``frames`` are a clip's.

Where we differ: the encoder has batch norm; masked convolutions make c_t; a step's predictions share
their others; patches lose a margin, unpadded; frames vary like pictures. Light alone tells which parts
belong together: shorter runs have larger parts, mostly in colour, brought to one mean and spread.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, UserError, augment, distributed, require

from ._context import Foretelling
from ._contrast import first_right, info_nce, products
from ._frames import drawn_frames
from ._heads import spread
from ._patches import alike, laid_out, overlapping


class CPC(Method):
    """Predicts the embeddings of later rows or frames among those of a batch."""

    needs_if: ClassVar = {"sequence=frames": "clips"}
    short_run_settings: ClassVar = {
        "length": 3,
        "steps": 2,
        "negatives": 128,
        "dim": 64,
        "grey": 0.2,
        "normalise": True,
    }

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        sequence: Literal["rows", "frames"] = "rows",
        steps: int = 5,
        length: int = 7,
        negatives: int | None = 1024,
        dim: int = 256,
        crop: float = 0.73,
        grey: float = 1.0,
        normalise: bool = False,
    ) -> None:
        super().__init__(encoder, facts)
        require(sequence in ("rows", "frames"), "cpc.sequence", sequence, "rows or frames")
        require(2 <= length < facts.image_size, "cpc.length", length, "at least 2 rows or frames, fewer than the side")
        require(1 <= steps < length, "cpc.steps", steps, f"at least 1, less than cpc.length = {length}")
        require(negatives is None or negatives >= 1, "cpc.negatives", negatives, "at least 1, or None for all")
        require(dim >= 1, "cpc.dim", dim, "at least 1")
        require(0 < crop <= 1, "cpc.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= grey <= 1, "cpc.grey", grey, "a probability")
        self.length, self.negatives, self.crop, self.grey, self.normalise = length, negatives, crop, grey, normalise
        self.rows, self.views_per_image = sequence == "rows", float(length)
        stride = facts.image_size // (length + 1)
        self.margin = max(1, stride // 8)  # of two strides' width: 64 pixels become 60
        if self.rows:
            self.view_size = 2 * stride - self.margin
            self.views_per_image = (length * self.view_size / facts.image_size) ** 2
        else:
            self.needs = frozenset({"clips"})
        self.foretelling = Foretelling(encoder.dim, dim, length=length, wide=self.rows, steps=steps)

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE of every later part, foretold from every part above or before it."""
        z = self.embeddings(self.parts(batch))
        self.logged["spread"] = spread(z.flatten(0, 2))
        logits = self.logits(z)
        return info_nce(logits, first_right(logits), self.logged)

    def embeddings(self, parts: Tensor) -> Tensor:
        """Parts (N, T, W, 3, s, s), each encoded by itself, brought to one mean and spread or not -> z (N, T, W, D)."""
        parts = alike(parts) if self.normalise else parts
        return self.encoder(parts.flatten(0, 2)).float().view(*parts.shape[:3], -1)

    def parts(self, batch: Batch) -> Tensor:
        """A batch -> (N, T, W, 3, s, s): T rows of W overlapping patches, or T frames of one part each."""
        if self.rows:
            return overlapping(self.varied(batch.images)[:, 0], self.length, self.margin)
        assert batch.clips is not None
        if self.length > (T := batch.clips.shape[1]):
            raise UserError(f"cpc.length = {self.length}: clips have {T} frames; lower it to {T}.")
        return self.varied(drawn_frames(batch.clips, self.length).flatten(1, 2)).unsqueeze(2)

    def varied(self, images: Tensor) -> Tensor:
        """Images (N, F * 3, S, S), F frames cropped and mirrored alike -> (N, F, 3, S, S), grey or not."""
        crops = augment.resized_crops(images, scale=(self.crop, 1.0)).unflatten(1, (-1, 3))
        return augment.recoloured(crops.flatten(0, 1), jitter=0.0, grey=self.grey).view_as(crops)

    def logits(self, z: Tensor) -> Tensor:
        """Embeddings (N, T, W, D) -> a row for each prediction: the product with the true one, then with others."""
        (said, meant), every = self.foretelling(z), distributed.gather(own := z.flatten(0, 2))
        drawn = torch.randperm(len(every), device=z.device)[: self.negatives]
        itself = drawn == (meant + distributed.rank() * len(own)).unsqueeze(1)
        others = products(said, every[drawn]).masked_fill(itself, -torch.inf)
        return torch.cat([(said * own[meant]).sum(1, keepdim=True), others], dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """What has been read, a later part, and the batch's likeliest parts for its place, the true one marked."""
        parts = self.parts(batch)
        (T, W), (k, scores, true) = parts.shape[1:3], self.foretelling.last(self.embeddings(parts))
        ranks = ((scores > scores.gather(1, true)).sum(1) + 1).tolist()
        best = scores.topk(min(8, scores.shape[1] // 2 * 2)).indices
        likeliest = laid_out(parts.flatten(0, 2)[best], best.shape[1] // 2, best == true)
        captions = tuple(f"the true one is no. {rank} of {scores.shape[1]}" for rank in ranks)
        return [
            Panel(title="what has been read", images=laid_out(parts[:, :-k].flatten(1, 2), W if W > 1 else T - k)),
            Panel(title=f"what comes {k} steps on", images=parts[:, -1, W // 2]),
            Panel(title="likeliest parts of the batch, best first", images=likeliest, captions=captions),
        ]
