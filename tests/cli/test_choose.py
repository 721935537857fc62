"""The command ``choose`` and ``sslbench.choose``: one small choice on the embedded data, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

import sslbench
from sslbench.bench.api.choose import Choice
from sslbench.bench.choose import candidates, halving
from sslbench.bench.cli import main
from sslbench.bench.planning.plan import Request
from sslbench.bench.records import store as records
from sslbench.bench.run import runner
from tests.builders import save_grey_picture, write_method

SETTINGS = {
    "synthetic.train": 120,
    "synthetic.test": 80,
    "recipe.views": 64,
    "recipe.batch_size": 16,
    "convnet.width": 4,
    "knn.k": 5,
    "linear.strengths": 0.1,
}


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory, session_cache: None) -> Choice:
    """A choice among a method, one that fails, and two untrained encoders; the first round has 40 images per split."""
    folder = tmp_path_factory.mktemp("choice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halving, "FIRST_IMAGES", 40)
        patch.setattr(halving, "FIRST_PER_CLASS", 2)
        return sslbench.choose(
            dataset="synthetic",
            methods=["denoising", "failing", "random", "pixels"],
            minutes=10,
            settings=SETTINGS,
            preset="smoke",
            plugin=write_method(folder, "failing", "        raise RuntimeError('stopped on purpose')"),
            results=folder / "results",
            device="cpu",
            progress=False,
        )


def test_each_candidate_has_a_row_with_what_decides(choice: Choice) -> None:
    """Accuracy, speed, size and licence; all are measured on all images in the last round."""
    rows = choice.frame.set_index("candidate")
    assert set(rows.index) == {"denoising", "random", "pixels"}
    assert set(rows["images"]) == {"all"}
    assert rows["layer"].to_dict() == {"denoising": "conv5", "random": "conv5", "pixels": "pixels"}
    assert rows["licence"].to_dict() == {"denoising": "yours", "random": "-", "pixels": "-"}
    assert (rows.loc["pixels", "parameters"], rows["parameters"]["random"]) == (0, rows["parameters"]["denoising"])
    assert (rows[["linear", "± linear", "images/s", "MB"]] > 0).all(axis=None)
    assert choice.frame["linear"].is_monotonic_decreasing


def test_what_failed_is_left_out_with_its_reason(choice: Choice) -> None:
    """One candidate that fails does not end the choice."""
    assert choice.left_out == {"failing": "RuntimeError: stopped on purpose"}
    assert "left out: failing: RuntimeError: stopped on purpose" in str(choice)


def test_rounds_are_recorded_as_such(choice: Choice) -> None:
    """Each protocol on 40 images per split and on all, which are never ranked together; pretrained once."""
    found, _ = records.read_all(choice.results / "records")
    ended = [record for record in found if not record.failed]
    limits = {record.settings.dataset.get("limit") for record in ended}
    assert limits == {None, 40}
    assert len(ended) == 3 * 2 * 2
    kinds = {record.source.kind for record in ended if record.cell.method == "denoising"}
    assert kinds == {"pretrained", "cached"}


def test_it_ends_with_advice_in_every_form(choice: Choice) -> None:
    """As text, and in a notebook."""
    assert choice.advice.startswith("Choose ")
    assert str(choice).endswith(choice.advice)
    assert "<table" in choice._repr_html_()
    assert "candidate" in str(choice).splitlines()[0]
    assert 0 < choice.seconds < 600


def test_the_command_reuses_what_was_measured(
    choice: Choice, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same candidates give the same table, without measuring anything."""
    monkeypatch.setattr(halving, "FIRST_IMAGES", 40)
    monkeypatch.setattr(halving, "FIRST_PER_CLASS", 2)
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    words = ["--dataset", "synthetic", "--methods", "denoising,random,pixels", "--preset", "smoke", *settings]
    assert main(["choose", *words, "--device", "cpu", "--results", str(choice.results)]) == 0
    printed = capsys.readouterr().out
    assert choice.advice in printed
    assert "pixels" in printed


def test_ready_words_are_those_with_weights_here(session_cache: None) -> None:
    """The floor needs none; methods that would be pretrained are not among them."""
    settings = tuple(f"{name}={value}" for name, value in SETTINGS.items())
    request = Request(methods=("all",), assignments=settings, preset="smoke")
    ready = candidates.ready_words(request)
    assert "random" in ready
    assert "moco" not in ready


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of pictures: of two classes, the same with equal splits, of one class, and without any."""
    root = tmp_path_factory.mktemp("choose")
    for name, classes, change in (("good", "ab", 7), ("repeated", "ab", 0), ("alike", "a", 7)):
        for split, added in (("train", 0), ("test", change)):
            for label in classes:
                for n in range(4):
                    save_grey_picture(root / name / split / label / f"{n}.png", 40 * n + added)
    (root / "empty").mkdir()
    return root


def test_candidates_are_shown_without_measuring(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --dry-run: what would be pretrained, and the rounds; a warning about the data comes once."""
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    words = ["--methods", "random,rotnet", "--preset", "smoke", "--set", "recipe.batch_size=4", "--dry-run"]
    assert main(["choose", "--data-dir", str(here / "repeated"), *words]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["random", "ready", "conv5", "536,608", "-"] in lines
    assert ["rotnet", "to", "pretrain", "conv5", "536,608", "yours"] in lines
    assert printed.out.splitlines()[-1] == "repeated: 8 + 8 images; rounds on all"
    assert printed.err.count("also in train") == 1


GOOD = ["--data-dir", "{here}/good", "--methods", "random"]
MISTAKES = {
    "no minutes": ([*GOOD, "--minutes", "0"], ["--minutes = 0.0", "above 0"]),
    "negative minutes": ([*GOOD, "--minutes", "-1"], ["--minutes = -1.0", "above 0"]),
    "minutes without end": ([*GOOD, "--minutes", "inf"], ["--minutes = inf"]),
    "minutes that are no number": ([*GOOD, "--minutes", "ten"], ["--minutes", "'ten'"]),
    "no folder": (["--methods", "random"], ["--data-dir"]),
    "no such folder": (["--methods", "random", "--data-dir", "nowhere"], ["nowhere", "no such file or directory"]),
    "empty folder": (["--methods", "random", "--data-dir", "{here}/empty"], ["empty", "no folders"]),
    "one class": (["--methods", "random", "--data-dir", "{here}/alike"], ["alike", "only one class (a)"]),
    "no such method": (["--data-dir", "{here}/good", "--methods", "moca"], ["moca", "Did you mean 'moco'?"]),
    "no such checkpoint": (["--data-dir", "{here}/good", "--methods", "moco@none"], ["moco@none"]),
    "no such option": ([*GOOD, "--minute", "3"], ["--minute", "--minutes"]),
    "no such setting": ([*GOOD, "--set", "knn.kk=3"], ["knn.kk", "Did you mean 'k'?"]),
    "two layers": ([*GOOD, "--taps", "conv4,conv5"], ["--taps conv4,conv5", "one layer"]),
    "no such layer": ([*GOOD, "--taps", "conv9"], ["conv9"]),
    "nothing is ready": (["--data-dir", "{here}/good"], ["no weights for these pictures", "--methods rotnet,moco"]),
}


@pytest.mark.parametrize(("words", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_any_work(
    words: list[str],
    parts: list[str],
    here: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and nothing is measured."""
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    assert main(["choose", *(word.replace("{here}", str(here)) for word in words), "--results", str(results)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
