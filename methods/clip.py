"""CLIP: match images with the captions that describe them.

Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021. https://arxiv.org/abs/2103.00020

A caption says what matters to people in an image. An image encoder and a text encoder
map both to one space, where each image must be most similar to its own caption among
all captions of the batch, and each caption to its own image (figure 3). The temperature
is learned. The text encoder is a transformer in which no word attends to later ones;
its output at the last word represents the caption.

Where we differ: tokens are words instead of byte pairs, numbered by a hash that may give
two words the same number; there is no start token; ``negatives`` can lower the number of
other candidates; crops are those of OpenCLIP.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import (
    Batch,
    Count,
    Encoder,
    Method,
    Panel,
    PositiveShare,
    TrainInfo,
    augment,
    distributed,
    require,
)

from ._captions import CaptionEncoder
from ._contrast import draw_negatives, info_nce, pairwise_products
from ._heads import spread

MAX_SCALE = 100.0  # largest 1 / temperature (section 2.5)


class CLIP(Method):
    """Contrasts each image with the batch's captions, and each caption with the batch's images."""

    year = 2021
    kind = "cross-modal"
    needs = frozenset({"captions"})
    short_run_settings: ClassVar = {"dim": 64, "width": 64, "depth": 2, "heads": 2, "vocabulary": 4096}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        temperature: Annotated[float, Ge(0.01)] = 0.07,
        dim: Annotated[int, Ge(2)] = 512,
        width: Count = 512,
        depth: Count = 12,
        heads: Count = 8,
        vocabulary: Annotated[int, Ge(3)] = 49152,
        words: Count = 76,  # per caption; longer ones are cut
        negatives: Count | None = None,
        crop: PositiveShare = 0.9,
    ) -> None:
        super().__init__(encoder, train_info)
        require(width % heads == 0, "clip.width", width, f"a multiple of clip.heads, {heads}")
        self.negatives, self.crop = negatives, crop
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.image_head = nn.Linear(encoder.dim, dim, bias=False)
        self.text_encoder = CaptionEncoder(width=width, depth=depth, heads=heads, vocabulary=vocabulary, words=words)
        self.text_head = nn.Linear(width, dim, bias=False)

    def loss(self, batch: Batch) -> Tensor:
        """Mean of the cross-entropies of finding each image's caption and each caption's image (figure 3)."""
        views = augment.random_resized_crops(batch.images, scale=(self.crop, 1.0), ratio=(1.0, 1.0), flip=0.0)
        images, texts = self.embed_images(views), self.embed_captions(batch)
        answers = distributed.rank() * len(images) + torch.arange(len(images), device=images.device)
        by_text = draw_negatives(self.logits(texts, distributed.gather(images)), answers, self.negatives)
        by_image = draw_negatives(self.logits(images, distributed.gather(texts)), answers, self.negatives)
        self.logged["spread"] = spread(images)
        self.logged["temperature"] = (-self.log_scale.detach()).exp()
        return (info_nce(*by_text, self.logged) + info_nce(*by_image, self.logged)) / 2

    def after_step(self, progress: float) -> None:
        """Limits the scale of the logits, which stabilises training (section 2.5)."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(MAX_SCALE))

    def embed_images(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.image_head(self.encoder(views)).float(), dim=1)

    def embed_captions(self, batch: Batch) -> Tensor:
        """The batch's captions -> unit vectors (N, dim)."""
        assert batch.captions is not None
        return F.normalize(self.text_head(self.text_encoder(batch.captions)).float(), dim=1)

    def logits(self, ones: Tensor, others: Tensor) -> Tensor:
        """Unit vectors (N, dim) and (M, dim) -> their cosines over the temperature (N, M)."""
        return pairwise_products(ones, others) * self.log_scale.exp()

    def panels(self, batch: Batch) -> list[Panel]:
        """Images with captions, the batch's most probable caption of each, and the most probable image of each."""
        captions = batch.captions or ()
        logits = self.logits(self.embed_images(batch.images), self.embed_captions(batch))
        (p_caption, caption), (p_image, image) = logits.softmax(1).max(1), logits.softmax(0).max(0)
        found = tuple(f"{captions[n]}\n{p:.0%}" for n, p in zip(caption.tolist(), p_caption.tolist(), strict=True))
        shares = tuple(f"{p:.0%}" for p in p_image.tolist())
        return [
            Panel(title="image and caption", images=batch.images, captions=captions),
            Panel(title="most probable caption, with its image", images=batch.images[caption], captions=found),
            Panel(title="most probable image for the caption", images=batch.images[image], captions=shares),
        ]
