"""Pictures of protocols: the sheet of a cell, what is refused, and that a failure costs the pictures alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.method import Panel
from sslbench.bench.records import store
from sslbench.bench.run.examples import MAX_BYTES, SIDE, check_panels, collect_examples, contact_sheet
from tests.builders import run_quickly

RED_AND_BLUE = torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None].expand(2, 3, 8, 8)
GREY = torch.full((2, 3, 100, 100), 128, dtype=torch.uint8)


def collect(panels: Any) -> Any:
    """The examples of a protocol whose pictures these are; an exception is raised."""

    def pictures(_: Any) -> Any:
        if isinstance(panels, Exception):
            raise panels
        return panels

    return collect_examples(SimpleNamespace(pictures=pictures), None, "moco: retrieval")  # type: ignore[arg-type]


def test_rows_are_images_and_columns_are_panels() -> None:
    """Two images of two panels, floats and bytes of other sizes: each has its place, and texts are kept."""
    described, content = collect(
        [Panel(title="query", images=RED_AND_BLUE), Panel(title="nearest", images=GREY, captions=("right", "wrong"))]
    )
    assert (described.titles, described.captions) == (("query", "nearest"), ((), ("right", "wrong")))
    pixels = np.asarray(Image.open(BytesIO(content))).astype(int)
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    middles = pixels[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE]
    expected = [[[255, 0, 0], [128] * 3], [[0, 0, 255], [128] * 3]]
    assert np.abs(middles - np.array(expected)).max() < 12  # WebP loses a little


def test_the_sheet_stays_small() -> None:
    """Noise, which no format compresses well, is stored with less quality."""
    noise = [torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    assert len(contact_sheet(noise)) <= MAX_BYTES


@pytest.mark.parametrize(
    ("panels", "words"),
    [
        ("text", "list of Panel"),
        ([Panel(title="a", images=GREY), Panel(title="b", images=GREY[:1])], "'b': images of shape"),
        ([Panel(title="a", images=GREY[:, :1])], "'a': images of shape"),
        ([Panel(title="a", images=GREY, captions=("one",))], "'a': 1 captions for 2 images"),
        ([Panel(title="a", images=GREY.repeat(4, 1, 1, 1))], "8 rows and 1 columns"),
        ([Panel(title="a", images=GREY)] * 11, "2 rows and 11 columns"),
        (ZeroDivisionError("no\nreason"), "ZeroDivisionError: no"),
    ],
)
def test_what_cannot_be_drawn_is_left_out_with_a_warning(
    panels: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line names the cell and the reason; there are no examples then."""
    assert collect(panels) is None
    (warning,) = caplog.messages
    assert warning.startswith("moco: retrieval: its pictures are left out")
    assert words in warning
    assert "\n" not in warning
    assert collect([]) is None
    assert len(caplog.messages) == 1


def test_a_cell_stores_its_pictures_next_to_its_record(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record names a WebP with a row per query; a protocol whose pictures fail is measured all the same."""
    words = ["--methods", "random", "--protocol", "retrieval"]
    assert run_quickly(results, *words) == 0
    (record,) = store.read_all(results / "records")[0]
    assert record.examples is not None
    path = record.path_of(record.examples.file)
    assert path is not None
    with Image.open(path) as image:
        assert image.size == (6 * SIDE, 6 * SIDE)
    assert record.examples.titles[:3] == ("query", "nearest at conv5", "nearest 2")
    assert all(text[0] in "✓✗" for text in record.examples.captions[1])
    assert [*(results / "figures").glob("pictures-retrieval-*.png")]
    monkeypatch.setattr("sslbench.protocols.retrieval.shown_images", lambda *_: 1 / 0)
    assert run_quickly(results, *words, "--overwrite") == 0
    (record,) = store.read_all(results / "records")[0]
    assert record.examples is None
    assert not record.failed


def test_check_panels_accepts_a_grid() -> None:
    """Six rows and ten columns, with captions or without."""
    check_panels([Panel(title="a", images=GREY.repeat(3, 1, 1, 1), captions=("x",) * 6)] * 10)
