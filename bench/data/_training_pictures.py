"""Pictures for pretraining: random squares of the files, with more pixels for crops than the images have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..images.larger import with_larger_copy
from ._pictures import LazyImages, map_in_threads, read_rgb, resize_square, result_or_reason, unreadable_error

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TrainingPictures:
    """Picture files that are read on demand for training: uint8 (N, 3, size, size).

    Each access gives a square at a random place on the longer side, so that all of a picture is seen over the epochs.
    The images carry a larger copy (n, 3, larger, larger) of the same squares, from which random crops are cut.
    """

    files: LazyImages
    larger: int  # pixels, more than the images' side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) or mask (N,) -> uint8 (n, 3, size, size). Draws n of torch's random numbers on the CPU."""
        import torch
        from torch.nn.functional import interpolate

        files = self.files
        chosen = files.positions(indices)
        places = torch.rand(len(chosen)).tolist()
        pixels = np.empty((len(chosen), self.larger, self.larger, 3), np.uint8)

        def read(i: int) -> None:
            path = files.paths[chosen[i]]
            file = files.root / path
            rgb = result_or_reason(file, lambda: read_rgb(file, self.larger, files.value_range))
            if isinstance(rgb, str):
                raise unreadable_error(files.root, [(path, rgb)])
            pixels[i] = np.asarray(resize_square(rgb, self.larger, places[i]))

        for _ in map_in_threads(read, range(len(chosen)), files.workers):
            pass
        larger = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        # On whole batches torch takes a fifth of Pillow's time.
        images = interpolate(larger, (files.size, files.size), mode="bicubic", antialias=True)
        return with_larger_copy(images, larger)
