"""The t-SNE map of test images: neighbours, panels, and taps that are refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.cli import main
from sslbench.bench.visualise.tsne import grid_shape, tsne_positions
from tests.builders import write_method

SMALL = ["--set", "synthetic.train=64", "--set", "synthetic.test=60"]


def test_similar_features_are_close_together() -> None:
    """Three clusters stay three clusters, and the same seed gives the same map."""
    generator = np.random.default_rng(0)
    centres = np.eye(3, 16)[np.arange(90) % 3]
    features = (centres + 0.05 * generator.normal(size=(90, 16))).astype(np.float32)
    positions = tsne_positions(features, seed=0)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 1e9 * np.eye(90)
    assert (distances.argmin(1) % 3 == np.arange(90) % 3).all()
    assert (tsne_positions(features, seed=0) == positions).all()


def test_a_panel_for_each_method_and_tap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figure is written as PNG and SVG, and the same command does not draw it again."""
    words = ["map", "--methods", "random", "--taps", "conv4,conv5", "--results", str(tmp_path), *SMALL]
    assert main(words) == 0
    png, svg = sorted((tmp_path / "figures").glob("map-synthetic-convnet-small-random-conv4-conv5*"))
    assert str(png) in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    stamp = svg.stat().st_mtime_ns
    assert main(words) == 0
    assert svg.stat().st_mtime_ns == stamp


def test_an_unknown_tap_is_reported_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with a suggestion, exit code 2, and no training."""
    words = ["map", "--methods", "rotnet", "--taps", "conv55", "--results", str(tmp_path), *SMALL]
    assert main([*words, "--set", "recipe.batch_size=8"]) == 2
    error = capsys.readouterr().err
    assert error == "error: --taps: convnet has no tap 'conv55'. Did you mean 'conv5'?\n"
    assert not (tmp_path / "figures").exists()


def test_an_error_of_a_plugin_shows_its_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other methods are drawn; with --debug the error is raised where it occurs."""
    file = write_method(tmp_path, "careless", "        {}['gone']")
    line = Path(file).read_text().splitlines().index("        {}['gone']") + 1
    words = ["map", "--methods", "careless", "--plugin", file, "--results", str(tmp_path), *SMALL]
    words += ["--set", "recipe.views=64", "--set", "recipe.batch_size=16"]
    assert main(words) == 1
    assert capsys.readouterr().err == f"failed: careless: KeyError: 'gone' ({file}:{line}, in loss)\n"
    with pytest.raises(KeyError, match="gone"):
        main([*words, "--debug"])


def test_panels_fill_rows_of_four() -> None:
    """A grid has at most four columns."""
    assert [grid_shape(n) for n in (1, 3, 4, 5, 9)] == [(1, 1), (1, 3), (1, 4), (2, 4), (3, 4)]
