"""Contrastive predictive coding (CPC): recognise what comes next in a sequence among other parts.

Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
Coding", 2018. https://arxiv.org/abs/1807.03748

Predicting the next part of a sequence requires knowing what is shown. Each part is encoded
separately to z_t, and a context c_t summarises the parts up to t. The product of W_k c_t with the
true z_{t+k} must exceed its products with other parts (equation 4). A sequence is an image's
``rows`` of patches from top to bottom, or a clip's ``frames``.

Where we differ: the encoder has batch norm; masked convolutions compute c_t; all predictions of a
batch share their negatives; patches are not padded but lose a random margin; frames are augmented
like images. Lighting alone reveals which parts belong together, so runs shorter than the paper's
have larger parts, mostly in colour, each normalised to the same mean and standard deviation.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment, require

from ._context import FuturePredictor
from ._contrast import answers_in_first_column, info_nce
from ._frames import draw_frames
from ._heads import spread
from ._patch_pictures import patch_mosaic
from ._patches import cut_overlapping_patches, normalised_patches


class CPC(Method):
    """Predicts the embeddings of later rows or frames among those of the batch."""

    year = 2018
    kind = "contrastive"
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
        train_info: TrainInfo,
        *,
        sequence: Literal["rows", "frames"] = "rows",
        steps: Count = 5,
        length: Annotated[int, Ge(2)] = 7,
        negatives: Count | None = 1024,
        dim: Count = 256,
        crop: PositiveShare = 0.73,
        grey: Share = 1.0,
        normalise: bool = False,
    ) -> None:
        super().__init__(encoder, train_info)
        S = train_info.image_size
        require(length < S, "cpc.length", length, f"below {S}, the image's side in pixels")
        require(steps < length, "cpc.steps", steps, f"below cpc.length, which is {length}")
        self.length, self.negatives, self.crop, self.grey, self.normalise = length, negatives, crop, grey, normalise
        self.rows, self.views_per_image = sequence == "rows", float(length)
        stride = S // (length + 1)
        self.margin = max(1, stride // 8)  # patches of the paper's 64 pixels become 60
        if self.rows:
            self.view_size = 2 * stride - self.margin
            self.views_per_image = (length * self.view_size / S) ** 2
        else:
            self.needs = frozenset({"clips"})
        self.predictor = FuturePredictor(encoder.dim, dim, length=length, wide=self.rows, steps=steps)

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE of every later part, predicted from the context of every part that precedes it by 1 to K steps."""
        z = self.embed(self.cut_parts(batch))
        self.logged["spread"] = spread(z.flatten(0, 2))
        logits = self.predictor.contrastive_logits(z, self.negatives)
        return info_nce(logits, answers_in_first_column(logits), self.logged)

    def embed(self, parts: Tensor) -> Tensor:
        """Encodes parts (N, T, W, 3, s, s) separately, normalised if so set: z (N, T, W, D)."""
        parts = normalised_patches(parts) if self.normalise else parts
        z: Tensor = self.encoder(parts.flatten(0, 2)).float().view(*parts.shape[:3], -1)
        return z

    def cut_parts(self, batch: Batch) -> Tensor:
        """A batch -> (N, T, W, 3, s, s): T rows of W overlapping patches, or T frames of one part each."""
        if self.rows:
            return cut_overlapping_patches(self.augment_frames(batch.images)[:, 0], self.length, self.margin)
        assert batch.clips is not None
        frames = batch.clips.shape[1]
        require(self.length <= frames, "cpc.length", self.length, f"at most {frames}, the frames of a clip")
        return self.augment_frames(draw_frames(batch.clips, self.length).flatten(1, 2)).unsqueeze(2)

    def augment_frames(self, images: Tensor) -> Tensor:
        """(N, F * 3, S, S) -> (N, F, 3, S, S): crops and mirrors all F frames of a clip alike, makes some grey."""
        crops = augment.random_resized_crops(images, scale=(self.crop, 1.0))
        crops = crops.view(len(crops), -1, 3, *crops.shape[2:])
        return augment.colour_jitter(crops.flatten(0, 1), jitter=0.0, grey=self.grey).view_as(crops)

    def panels(self, batch: Batch) -> list[Panel]:
        """The parts that are given, the part to predict, and the batch's best-scoring parts, the true one marked."""
        parts = self.cut_parts(batch)
        (T, W), (k, scores, true) = parts.shape[1:3], self.predictor.score_last_step(self.embed(parts))
        ranks = ((scores > scores.gather(1, true)).sum(1) + 1).tolist()
        best = scores.topk(min(8, scores.shape[1] // 2 * 2)).indices
        candidates = patch_mosaic(parts.flatten(0, 2)[best], best.shape[1] // 2, best == true)
        captions = tuple(f"true part: rank {rank} of {scores.shape[1]}" for rank in ranks)
        return [
            Panel(title="given parts", images=patch_mosaic(parts[:, :-k].flatten(1, 2), W if W > 1 else T - k)),
            Panel(title=f"part to predict, {k} step{'s' * (k > 1)} later", images=parts[:, -1, W // 2]),
            Panel(title="best-scoring parts of the batch", images=candidates, captions=captions),
        ]
