"""``sslbench.show``: the picture of the command, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sslbench
from tests.builders import QUICK_SETTINGS, write_method

SETTINGS = dict(setting.split("=") for setting in QUICK_SETTINGS) | {"convnet.width": 4}


def test_a_pretext_task_is_drawn(results: Path) -> None:
    """The picture is a file in the results folder with the settings in its name, and a PNG for notebooks."""
    picture = sslbench.show("rotnet", images=2, settings=SETTINGS, results=results, device="cpu", progress=False)
    assert picture.file.parent == results / "figures"
    assert picture.file.name.startswith("show-rotnet-")
    assert picture._repr_png_()[:4] == b"\x89PNG"
    assert "pretrained now" in picture.note


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "untrained": ("random", {}, "random has no pretext task"),
    "unknown": ("rotnot", {}, "Did you mean 'rotnet'"),
    "too many": ("rotnet", {"images": 33}, "images = 33: it must be from 1 to 32"),
    "no picture": ("rotnet", {"out": "picture.gif"}, "--out picture.gif: the picture is a PNG file"),
    "no panels": ("plain", {}, "plain cannot draw its pretext task"),
}


@pytest.mark.parametrize(("method", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_come_before_any_work(
    method: str, options: dict[str, Any], message: str, results: Path, tmp_path: Path
) -> None:
    """They are UserErrors, and no file is written."""
    plugin = write_method(tmp_path, "plain", "")
    with pytest.raises(sslbench.UserError, match=message):
        sslbench.show(method, plugin=plugin, results=results, settings=SETTINGS, **options)
    assert not results.exists()
