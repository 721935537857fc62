"""The base class of methods: an encoder, its heads, and the loss of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from .encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The data of one training step; a field that the method does not declare in ``needs`` is None."""

    images: Tensor  # uint8 (N, 3, H, W)
    indices: Tensor  # int64 (N,), positions in the train split
    labels: Tensor | None = None  # int64 (N,)
    clips: Tensor | None = None  # uint8 (N, T, 3, H, W)
    depth: Tensor | None = None  # float32 (N, H, W), metres
    captions: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One column of a figure, of ``show`` or of a protocol's pictures: one image per row, with a caption under each."""

    title: str
    images: Tensor  # (N, 3, h, w), uint8 or floats in [0, 1]
    captions: tuple[str, ...] = ()  # N of them, or empty


@dataclass(frozen=True, kw_only=True)
class TrainInfo:
    """What a method knows about the data in advance, to set the sizes of heads and memory banks."""

    num_images: int
    num_classes: int
    image_size: int  # pixels, square


class Method(nn.Module, ABC):
    """An encoder that is being pretrained. Subclasses add heads and define the loss of a batch.

    A subclass is named like its file. Its keyword-only arguments are its settings, and their defaults are the
    paper's. The encoder is built before the heads, so its initial weights do not depend on them.

    Weights that others trained with the method are registered in a TOML file next to its own,
    ``NAME.toml`` for ``NAME.py``: one table per checkpoint, with the keys of ``checkpoints/entries.py``.
    """

    year: ClassVar[int | None] = None
    """When the paper was published; None where a plugin does not say it."""

    kind: ClassVar[str] = ""
    """One of `plugins.method_kinds.KINDS`; empty where a plugin does not say it."""

    needs: frozenset[str] = frozenset()
    """What the data set must provide in addition to images: any of "labels", "clips", "depth", "captions"."""

    needs_if: ClassVar[dict[str, str]] = {}
    """Setting -> what it additionally needs with this setting, such as {"sequence=frames": "clips"}.

    ``__init__`` must then set ``needs`` accordingly.
    """

    input_mode: ClassVar[Literal["colour", "lightness", "halves", "patches"]] = "colour"
    """Which part of an image the encoder receives.

    "colour" is the whole image, "lightness" only L*. With "halves" one encoder of half the width receives L* and
    another a*b*; with "patches" the encoder receives some of the image's patches.
    """

    trains: ClassVar[bool] = True
    """False for a method without pretraining, such as random weights."""

    sync_batch_norm: ClassVar[bool] = True
    """Whether batch norm uses the statistics of the whole batch when several processes share it."""

    short_run_settings: ClassVar[dict[str, Any]] = {}
    """Settings that differ from the paper's in presets shorter than ``paper``; tables name them as deviations."""

    epochs_before_gradient: float = 0.0
    """Epochs at the start in which the encoder gets no gradient, because a memory of all images is filled first."""

    views_per_image: float = 1.0
    """How many views the encoder processes per image; a smaller view counts by its share of the pixels."""

    def __init__(self, encoder: Encoder, train_info: TrainInfo) -> None:
        super().__init__()
        self.encoder = encoder
        self.train_info = train_info
        self.view_size = train_info.image_size
        """Side length in pixels of the smallest view that the encoder processes."""
        self.logged: dict[str, Tensor] = {}
        """Scalars of the last step to log in addition to the loss, such as an accuracy.

        "spread" is the standard deviation of the normalised embeddings over the batch, averaged over their
        dimensions and multiplied by sqrt(dim): 1 where they fill the sphere, 0 where they all coincide.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The pretext loss of a batch: a scalar with gradients to the encoder."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step; ``progress`` rises from 0 to 1 over the run."""

    def panels(self, batch: Batch) -> list[Panel]:
        """Columns that show the method's input, task and output; called in eval mode without gradients."""
        return [Panel(title="image", images=batch.images)]
