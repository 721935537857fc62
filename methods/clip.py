"""CLIP: match pictures with the sentences that describe them.

Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021. https://arxiv.org/abs/2103.00020

A sentence says what of a picture matters to people. Pictures and captions are
encoded apart; of all pairs in a batch the true ones are to be the most alike, from
either side, at a temperature that is learned (figure 3). Captions are read word by
word by a transformer that looks back only; its last word stands for all.

Where we differ: words, not byte pairs, are numbered by a hash, which two may share, and
nothing marks a start; ``negatives`` can keep fewer of the others; crops are OpenCLIP's.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._captions import Reader
from ._contrast import few, info_nce, products
from ._heads import spread

SHARPEST = 100.0  # what logits are scaled by at most (section 2.5)


class CLIP(Method):
    """Contrasts each picture with the batch's captions, and each caption with its pictures."""

    needs = frozenset({"captions"})
    short_run_settings: ClassVar = {"dim": 64, "width": 64, "depth": 2, "heads": 2, "vocabulary": 4096}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        temperature: float = 0.07,
        dim: int = 512,
        width: int = 512,
        depth: int = 12,
        heads: int = 8,
        vocabulary: int = 49152,
        words: int = 76,
        negatives: int | None = None,
        crop: float = 0.9,
    ) -> None:
        super().__init__(encoder, facts)
        require(temperature >= 1 / SHARPEST, "clip.temperature", temperature, f"at least {1 / SHARPEST}")
        require(dim >= 2, "clip.dim", dim, "at least 2")
        require(heads >= 1, "clip.heads", heads, "at least 1")
        require(width >= 1 and width % heads == 0, "clip.width", width, f"a multiple of clip.heads, {heads}")
        require(depth >= 1, "clip.depth", depth, "at least 1")
        require(vocabulary >= 3, "clip.vocabulary", vocabulary, "at least 3")
        require(words >= 1, "clip.words", words, "at least 1, the longest caption that is read to its end")
        require(negatives is None or negatives >= 1, "clip.negatives", negatives, "at least 1, or None for all")
        require(0 < crop <= 1, "clip.crop", crop, "a share of the area, above 0 to 1")
        self.negatives, self.crop = negatives, crop
        self.sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.of_image = nn.Linear(encoder.dim, dim, bias=False)
        self.reader = Reader(width=width, depth=depth, heads=heads, vocabulary=vocabulary, words=words)
        self.of_text = nn.Linear(width, dim, bias=False)

    def loss(self, batch: Batch) -> Tensor:
        """Mean of the cross-entropies of each picture's caption and of each caption's picture (figure 3)."""
        views = augment.resized_crops(batch.images, scale=(self.crop, 1.0), ratio=(1.0, 1.0), flip=0.0)
        images, texts = self.seen(views), self.read(batch)
        answers = distributed.rank() * len(images) + torch.arange(len(images), device=images.device)
        of_texts = few(self.logits(texts, distributed.gather(images)), answers, self.negatives)
        of_images = few(self.logits(images, distributed.gather(texts)), answers, self.negatives)
        self.logged["spread"] = spread(images)
        self.logged["temperature"] = (-self.sharpness.detach()).exp()
        return (info_nce(*of_texts, self.logged) + info_nce(*of_images, self.logged)) / 2

    def after_step(self, progress: float) -> None:
        """Keeps the temperature from running away."""
        with torch.no_grad():
            self.sharpness.clamp_(max=math.log(SHARPEST))

    def seen(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.of_image(self.encoder(views)).float(), dim=1)

    def read(self, batch: Batch) -> Tensor:
        """The batch's captions -> unit vectors (N, dim)."""
        assert batch.captions is not None
        return F.normalize(self.of_text(self.reader(batch.captions)).float(), dim=1)

    def logits(self, ones: Tensor, others: Tensor) -> Tensor:
        """Unit vectors (N, dim) and (M, dim) -> their likeness over the temperature (N, M)."""
        return products(ones, others) * self.sharpness.exp()

    def panels(self, batch: Batch) -> list[Panel]:
        """Each picture with its caption, the batch's likeliest caption, and the likeliest picture for its own."""
        captions = batch.captions or ()
        logits = self.logits(self.seen(batch.images), self.read(batch))
        (shares, said), (certain, meant) = logits.softmax(1).max(1), logits.softmax(0).max(0)
        told = zip(said.tolist(), shares.tolist(), strict=True)
        return [
            Panel(title="picture and caption", images=batch.images, captions=captions),
            Panel(
                title="likeliest caption, and its own picture",
                images=batch.images[said],
                captions=tuple(f"{captions[n]}\n{share:.0%}" for n, share in told),
            ),
            Panel(
                title="likeliest picture for the caption",
                images=batch.images[meant],
                captions=tuple(f"{share:.0%}" for share in certain.tolist()),
            ),
        ]
