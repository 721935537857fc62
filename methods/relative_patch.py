"""Context prediction: say on which side of a patch another patch of the same image lies.

Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by
Context Prediction", ICCV 2015. https://arxiv.org/abs/1505.05192

Where the ear is relative to the eye is known to who knows the animal. Shortcuts
(section 3.1) are lines that run on from patch to patch, against which there are
gaps and jitter, and the lens, which shifts green against magenta towards the
picture's rim: ``colour`` drops two channels or projects that axis away.

Where we differ: all eight pairs of an image's centre patch are in one batch and
the centre is encoded once; the budget counts nine patches by their pixels. The
part of the image that holds the grid varies in scale by ``crop``, as the paper's
images do, resized to 150,000-450,000 pixels; patches are not made coarser
besides, being small already. One layer of ``hidden`` units stands for fc7 to fc9.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._patches import GREEN, SHOWN, YELLOW, framed, laid_out, magnified, placed, squares, uncoloured

CENTRE, AROUND = 4, [0, 1, 2, 3, 5, 6, 7, 8]  # places of the 3x3 grid, row by row
NAMES = ("upper left", "above", "upper right", "left", "right", "lower left", "below", "lower right")


class RelativePatch(Method):
    """Encodes each patch by itself and classifies the place of each neighbour from it and the centre."""

    checkpoints: ClassVar = {
        "mmselfsup_rn50": {
            "url": (
                "mmselfsup:1.x/relative_loc/relative-loc_resnet50_8xb64-steplr-70e_in1k/"
                "relative-loc_resnet50_8xb64-steplr-70e_in1k_20220825-daae1b41.pth"
            ),
            "linear": 0.404,
        },
    }

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        gap: float = 0.5,
        jitter: float = 0.073,
        colour: Literal["drop", "projection", "keep"] = "drop",
        crop: float = 0.33,
        hidden: int = 512,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 <= gap <= 1, "relative_patch.gap", gap, "a share of a patch's side, from 0 to 1")
        require(0 <= jitter <= 0.5, "relative_patch.jitter", jitter, "a share of a patch's side, from 0 to 0.5")
        known = ("drop", "projection", "keep")
        require(colour in known, "relative_patch.colour", colour, f"one of {', '.join(known)}")
        require(0 < crop <= 1, "relative_patch.crop", crop, "a share of the area, above 0 to 1")
        require(hidden >= 1, "relative_patch.hidden", hidden, "at least 1")
        self.patch, self.gap, self.jitter = lengths(facts.image_size, gap, jitter)
        self.colour, self.crop = colour, crop
        self.view_size = self.patch
        self.views_per_image = 9 * (self.patch / facts.image_size) ** 2
        self.head = nn.Sequential(
            nn.Linear(2 * encoder.dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, len(AROUND)),
        )

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the place, averaged over the eight neighbours of all images."""
        parts, top, left = self.parts(batch.images)
        logits = self.logits(uncoloured(squares(parts, top, left, self.patch), self.colour)).flatten(0, 1)
        places = torch.arange(len(AROUND), device=parts.device).repeat(len(parts))
        self.logged["accuracy"] = (logits.argmax(1) == places).float().mean()
        return F.cross_entropy(logits, places)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A part of each image, enlarged, and top and left (N, 9) of its patches: a grid, each moved by itself."""
        parts = augment.resized_crops(images, scale=(self.crop, 1.0), ratio=(1.0, 1.0), flip=0.0)
        cells, step = torch.arange(9, device=images.device), self.patch + self.gap
        start = (images.shape[-1] - 2 * step - self.patch) // 2
        moved = torch.randint(-self.jitter, self.jitter + 1, (2, len(images), 9), device=images.device)
        return parts, start + cells // 3 * step + moved[0], start + cells % 3 * step + moved[1]

    def logits(self, patches: Tensor) -> Tensor:
        """Nine patches of each image (N, 9, 3, s, s) -> for each neighbour the scores of its place (N, 8, 8)."""
        embeddings = self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        centres = embeddings[:, CENTRE : CENTRE + 1].expand(-1, len(AROUND), -1)
        pairs = torch.cat([centres, embeddings[:, AROUND]], dim=2)
        return self.head(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])

    def panels(self, batch: Batch) -> list[Panel]:
        """A patch and one of its neighbours in the image, as the encoder sees them, and where it says that one is."""
        parts, top, left = self.parts(batch.images)
        patches = uncoloured(squares(parts, top, left, self.patch), self.colour)
        item, times = torch.arange(len(parts), device=parts.device), max(1, SHOWN // parts.shape[-1])
        asked = torch.randperm(len(parts), device=parts.device) % len(AROUND)
        shares = self.logits(patches).float().softmax(2)[item, asked]
        centre, other = torch.full_like(asked, CENTRE), asked + (asked >= CENTRE)
        pair = torch.stack([patches[:, CENTRE], patches[item, other]], dim=1)
        picture, answer = magnified(parts, times), placed(shares)
        for place, colour in ((centre, YELLOW), (other, GREEN)):
            y, x = times * top[item, place], times * left[item, place]
            picture = framed(picture, y, x, times * self.patch, colour)
            answer = framed(answer, place // 3 * SHOWN // 3, place % 3 * SHOWN // 3, SHOWN // 3, colour)
        said = zip(asked.tolist(), *(found.tolist() for found in shares.max(1)), strict=True)
        told = tuple(f"truth: {NAMES[truth]}\nsays: {NAMES[place]}, {share:.0%}" for truth, share, place in said)
        return [
            Panel(title="patch and neighbour", images=picture),
            Panel(title="as seen: where is the second?", images=laid_out(pair, 2)),
            Panel(title="probability of each place", images=answer, captions=told),
        ]


def lengths(image_size: int, gap: float, jitter: float) -> tuple[int, int, int]:
    """Sides in pixels of the largest patch whose grid fits an image, of its gaps, and of how far it moves."""
    sides = ((patch, round(gap * patch), round(jitter * patch)) for patch in range(image_size // 3, 0, -1))
    return next(found for found in sides if 3 * found[0] + 2 * sum(found[1:]) <= image_size)
