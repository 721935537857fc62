"""What a file in ``methods/`` promises: an encoder, its heads, and ``loss(batch)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from .encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step sees; what the method did not ask for is ``None``."""

    images: Tensor  # uint8 (N, 3, H, W)
    indices: Tensor  # int64 (N,), places in the train split
    labels: Tensor | None = None  # int64 (N,)
    clips: Tensor | None = None  # uint8 (N, T, 3, H, W)
    depth: Tensor | None = None  # float32 (N, H, W), metres
    captions: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One column of the picture that ``show`` draws: an image a row, and words under each."""

    title: str
    images: Tensor  # (N, 3, h, w), uint8 or floats in [0, 1]
    captions: tuple[str, ...] = ()  # N of them, or none


@dataclass(frozen=True, kw_only=True)
class TrainInfo:
    """What a method may know of the data before it sees a batch, to size heads and banks."""

    images: int
    classes: int
    image_size: int  # pixels, square


class Method(nn.Module, ABC):
    """An encoder being pretrained: subclasses add heads and say what a batch costs them.

    A subclass is named like its file; its keyword-only arguments are its settings and
    their defaults are the paper's. The base has the encoder built already, so heads
    never shift the encoder's first weights.
    """

    needs: frozenset[str] = frozenset()
    """Of "labels", "clips", "depth", "captions": what the data set must provide."""

    needs_if: ClassVar[dict[str, str]] = {}
    """What it needs besides under some setting, which sets ``needs`` then: {"sequence=frames": "clips"}."""

    input_mode: ClassVar[Literal["colour", "lightness", "halves", "patches"]] = "colour"
    """What of a picture its encoder sees: all, L* alone, L* and a*b* by encoders of half the width, or some patches."""

    trains: ClassVar[bool] = True
    """False where there is nothing to pretrain."""

    synchronised: ClassVar[bool] = True
    """Whether batch norm sees the whole batch where several processes share it."""

    short_run_settings: ClassVar[dict[str, Any]] = {}
    """Settings that differ from the paper's in presets shorter than ``paper``: declared deviations."""

    checkpoints: ClassVar[dict[str, dict[str, Any]]] = {}
    """Published weights by name, as literals: url, encoder, settings, input, licence, linear, knn, source, sha256."""

    views_per_image: float = 1.0
    """Encoder views that one image costs, a smaller view counted by its share of the pixels."""

    def __init__(self, encoder: Encoder, facts: TrainInfo) -> None:
        super().__init__()
        self.encoder = encoder
        self.facts = facts
        self.view_size = facts.image_size
        """Side in pixels of the smallest view that the encoder is given."""
        self.logged: dict[str, Tensor] = {}
        """Scalars of the last step beside the loss (an accuracy), for logs and records.

        "spread" is the standard deviation of the normalised embeddings over the batch, averaged over their dim
        numbers, times sqrt(dim): 1 where they fill the sphere, 0 where they are all alike.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The pretext loss of a batch, a scalar, with gradients to the encoder."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step; ``progress`` rises from 0 to 1 over the run."""

    def panels(self, batch: Batch) -> list[Panel]:
        """What goes in, what is asked and what comes out, a column each; called in eval mode without gradients."""
        return [Panel(title="image", images=batch.images)]
