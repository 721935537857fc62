"""Pictures of what a protocol asked and what an encoder answered: one small WebP per cell.

A record with its numbers is worth more than its pictures: those that cannot be drawn are left out with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.representation import Representation
from ..method import Panel
from ..protocol import Protocol
from ..records.record import Examples

MAX_ROWS, MAX_COLUMNS = 6, 10
SIDE = 64  # pixels of each picture
MAX_BYTES = 40_000
QUALITIES = (80, 60, 40, 20, 0)  # of WebP; the first that gives at most MAX_BYTES is taken
log = logging.getLogger(__name__)


def collect_examples(protocol: Protocol, representation: Representation, title: str) -> tuple[Examples, bytes] | None:
    """What a record says about the protocol's pictures, and the WebP; None if there are none."""
    try:
        panels = protocol.pictures(representation)
        if not panels:
            return None
        check_panels(panels)
        content = contact_sheet([panel.images for panel in panels])
    except Exception as error:
        log.warning(
            "%s: its pictures are left out (%s: %s)", title, type(error).__name__, str(error).partition("\n")[0]
        )
        return None
    titles, captions = tuple(panel.title for panel in panels), tuple(tuple(panel.captions) for panel in panels)
    return Examples(file="", side=SIDE, titles=titles, captions=captions), content


def check_panels(panels: Any) -> None:
    """Raises ValueError unless these are columns of a grid with few rows."""
    if not isinstance(panels, list) or not all(isinstance(panel, Panel) for panel in panels):
        raise ValueError("pictures() did not return a list of Panel")
    rows = len(panels[0].images)
    if not 1 <= rows <= MAX_ROWS or len(panels) > MAX_COLUMNS:
        raise ValueError(f"{rows} rows and {len(panels)} columns; at most {MAX_ROWS} and {MAX_COLUMNS} are shown")
    for panel in panels:
        if panel.images.ndim != 4 or panel.images.shape[1] != 3 or len(panel.images) != rows:
            raise ValueError(f"{panel.title!r}: images of shape {tuple(panel.images.shape)}, not ({rows}, 3, h, w)")
        if len(panel.captions) not in (0, rows):
            raise ValueError(f"{panel.title!r}: {len(panel.captions)} captions for {rows} images")


def contact_sheet(columns: Sequence[Tensor]) -> bytes:
    """Images (N, 3, h, w) of each column, uint8 or floats in [0, 1], as one WebP of N rows of square pictures."""
    from PIL import Image

    canvas = Image.new("RGB", (len(columns) * SIDE, len(columns[0]) * SIDE))
    for x, images in enumerate(columns):
        for y, image in enumerate(as_pixels(images)):
            picture = Image.fromarray(image)
            # Enlarged pixels stay squares, so that a picture of few pixels is not blurred.
            sampling = Image.Resampling.NEAREST if max(picture.size) <= SIDE else Image.Resampling.LANCZOS
            canvas.paste(picture.resize((SIDE, SIDE), sampling), (x * SIDE, y * SIDE))
    for quality in QUALITIES:
        content = BytesIO()
        canvas.save(content, "webp", quality=quality, method=4)
        if content.tell() <= MAX_BYTES:
            break
    return content.getvalue()


def as_pixels(images: Tensor) -> np.ndarray:
    """Images (N, 3, h, w), uint8 or floats in [0, 1], as uint8 (N, h, w, 3)."""
    images = images.detach().cpu()
    if images.dtype != torch.uint8:
        images = (images.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
