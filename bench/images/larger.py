"""Images that carry a larger copy of themselves, from which random crops are cut.

A small crop of an image that was resized to the side of a view has to be enlarged, and is blurred. If the files hold
larger pictures, the images of a training batch carry a copy of more pixels: ``augment.random_resized_crops`` cuts from
it, and everything else sees the images as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ATTRIBUTE = "larger_copy"


def with_larger_copy(images: Tensor, larger: Tensor) -> Tensor:
    """The images (N, C, S, S), which now carry the same squares at a higher resolution (N, C, L, L).

    Tensors computed from them do not carry the copy, except those of `move_images` and ``augment.repeat_images``.
    """
    setattr(images, ATTRIBUTE, larger)
    return images


def larger_copy_of(images: Tensor) -> Tensor | None:
    """The larger copy (N, C, L, L) that the images carry, if they do."""
    larger: Tensor | None = getattr(images, ATTRIBUTE, None)
    return larger


def move_images(images: Tensor, device: torch.device) -> Tensor:
    """The images on a device, with the larger copy that they carry."""
    moved, larger = images.to(device, non_blocking=True), larger_copy_of(images)
    return moved if larger is None else with_larger_copy(moved, larger.to(device, non_blocking=True))
