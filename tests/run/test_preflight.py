"""Mistakes that are found before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.checkpoints import store
from sslbench.bench.cli import main
from sslbench.bench.records import store as records
from tests.builders import QUICK_OPTIONS, run_quickly


def test_a_results_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the option."""
    (tmp_path / "taken").write_text("")
    assert run_quickly(tmp_path / "taken", "--methods", "random") == 2
    assert "--results" in capsys.readouterr().err


def test_weights_of_another_encoder_are_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that do not fit are refused before any work."""
    assert run_quickly(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20") == 0
    (record,), _ = records.read_all(results / "records")
    file = store.cached_encoder_path(record.identity.recipe)
    words = ["--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--checkpoint", f"rotnet={file}"]
    capsys.readouterr()
    assert run_quickly(results, *words, "--encoder", "nin", "--taps", "conv2") == 2
    assert "do not fit the encoder" in capsys.readouterr().err
    assert run_quickly(results, *words) == 0


@pytest.mark.parametrize("method", ["instdisc", "pirl", "deepcluster"])
def test_a_budget_without_a_gradient_is_announced(results: Path, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """A method that only fills a memory of all images in its first epochs warns if the budget ends before that."""
    words = ["--methods", f"moco,{method}", "--protocol", "knn", "--dry-run", *QUICK_OPTIONS, "--results", str(results)]
    assert main([*words, "--set", "recipe.views=200"]) == 0
    assert [record.message.partition(":")[0] for record in caplog.records] == [method]
    assert "recipe.views=" in caplog.text
    caplog.clear()
    assert main([*words, "--set", "recipe.views=2000"]) == 0
    assert caplog.records == []


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--protocol", "knn", "--set", "knn.k=20", "--set", "knn.pooling=token"], "use knn.pooling=mean."),
        (["--set", "linear.pooling=token+mean", "--encoder", "vit"], "use linear.pooling=mean."),
    ],
)
def test_an_encoder_without_a_class_token_refuses_to_read_it(
    results: Path, words: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is one line, and nothing was measured."""
    assert run_quickly(results, "--methods", "random", *words) == 2
    message = capsys.readouterr().err
    assert "has no class token at conv4" in message
    assert remedy in message
    assert records.read_all(results / "records")[0] == []
