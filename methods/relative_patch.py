"""Context prediction: predict where a patch of an image is relative to another patch of the same image.

Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by
Context Prediction", ICCV 2015. https://arxiv.org/abs/1505.05192

Only a network that recognises an animal can know where its ear is relative to its
eye. There are two shortcuts (section 3.1). Lines continue from patch to patch, so
patches have gaps between them and are jittered. And lenses shift green against
magenta towards the image's edge, which reveals a patch's place, so ``colour``
drops two of the three channels or projects that axis away.

Where we differ: a batch contains all eight pairs of an image's centre patch, which
is encoded once; the budget counts nine patches by their pixels. The grid is cut
from a crop whose size varies (``crop``), as the paper's images are resized to
150,000-450,000 pixels. Patches are not downsampled in addition, because they are
small. One layer of ``hidden`` units replaces fc7 to fc9.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment

from ._heads import mlp
from ._patch_pictures import GREEN, YELLOW, draw_place_probabilities, outline_patches, patch_mosaic
from ._patches import cut_squares, remove_colour

CENTRE, AROUND = 4, [0, 1, 2, 3, 5, 6, 7, 8]  # places of the 3x3 grid, row by row
PLACE_NAMES = ("upper left", "above", "upper right", "left", "right", "lower left", "below", "lower right")


class RelativePatch(Method):
    """Encodes each patch separately, and classifies a neighbour's place from its embedding and that of the centre."""

    year = 2015
    kind = "pretext task"

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        gap: Share = 0.5,  # of a patch's side
        jitter: Annotated[float, Interval(ge=0, le=0.5)] = 0.073,  # of a patch's side, in each direction
        colour: Literal["drop", "projection", "keep"] = "drop",
        crop: PositiveShare = 0.33,  # the smallest crop's share of the area
        hidden: Count = 512,
    ) -> None:
        super().__init__(encoder, train_info)
        self.patch, self.gap, self.jitter = patch_layout(train_info.image_size, gap, jitter)
        self.colour, self.crop = colour, crop
        self.view_size = self.patch
        self.views_per_image = 9 * (self.patch / train_info.image_size) ** 2
        self.head = mlp(2 * encoder.dim, hidden, len(AROUND))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the place, averaged over the eight neighbours of all images."""
        patches = self.draw_patches(batch.images)[0]
        logits = self.logits(patches).flatten(0, 1)
        places = torch.arange(len(AROUND), device=patches.device).repeat(len(patches))
        self.logged["accuracy"] = (logits.argmax(1) == places).float().mean()
        return F.cross_entropy(logits, places)

    def draw_patches(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (N, 3, S, S) -> patches (N, 9, 3, s, s), crops (N, 3, S, S), and the patches' top and left (N, 9).

        The patches of a crop form a 3 x 3 grid, each moved at random, and have lost the colours that reveal places.
        """
        crops = augment.random_resized_crops(images, scale=(self.crop, 1.0), ratio=(1.0, 1.0), flip=0.0)
        cells, step = torch.arange(9, device=images.device), self.patch + self.gap
        start = (images.shape[-1] - 2 * step - self.patch) // 2
        moved = torch.randint(-self.jitter, self.jitter + 1, (2, len(images), 9), device=images.device)
        top, left = start + cells // 3 * step + moved[0], start + cells % 3 * step + moved[1]
        return remove_colour(cut_squares(crops, top, left, self.patch), self.colour), crops, top, left

    def logits(self, patches: Tensor) -> Tensor:
        """Nine patches per image (N, 9, 3, s, s) -> logits of the places of the eight neighbours (N, 8, 8)."""
        embeddings = self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        centres = embeddings[:, CENTRE : CENTRE + 1].expand(-1, len(AROUND), -1)
        pairs = torch.cat([centres, embeddings[:, AROUND]], dim=2)
        logits: Tensor = self.head(pairs.flatten(0, 1))
        return logits.view(*pairs.shape[:2], -1)

    def panels(self, batch: Batch) -> list[Panel]:
        """A patch and one neighbour in the image, both as the encoder sees them, and the predicted places."""
        patches, crops, top, left = self.draw_patches(batch.images)
        item = torch.arange(len(crops), device=crops.device)
        asked = torch.randperm(len(crops), device=crops.device) % len(AROUND)
        probabilities = self.logits(patches).float().softmax(2)[item, asked]
        place = asked + (asked >= CENTRE)
        pair = torch.stack([patches[:, CENTRE], patches[item, place]], dim=1)
        centre, neighbour = (top[:, CENTRE], left[:, CENTRE], YELLOW), (top[item, place], left[item, place], GREEN)
        rows = zip(asked.tolist(), *(column.tolist() for column in probabilities.max(1)), strict=True)
        captions = tuple(f"truth: {PLACE_NAMES[t]}\npredicted: {PLACE_NAMES[k]}, {p:.0%}" for t, p, k in rows)
        return [
            Panel(
                title="patch (yellow) and neighbour (green)",
                images=outline_patches(crops, [centre, neighbour], self.patch),
            ),
            Panel(title="input: where is the second patch?", images=patch_mosaic(pair, 2)),
            Panel(
                title="probability of each place (green: true)",
                images=draw_place_probabilities(probabilities, place),
                captions=captions,
            ),
        ]


def patch_layout(image_size: int, gap: float, jitter: float) -> tuple[int, int, int]:
    """Sides in pixels of the largest patch whose 3 x 3 grid fits into an image, of the gap, and of the jitter."""
    sides = ((patch, round(gap * patch), round(jitter * patch)) for patch in range(image_size // 3, 0, -1))
    return next(found for found in sides if 3 * found[0] + 2 * sum(found[1:]) <= image_size)
