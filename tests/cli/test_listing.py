"""The command ``list``: what each word shows, at any width of the terminal, and how little it imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.cli import listing, main
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from tests.builders import write_method

SHOWN = {  # words of `list`, and what they print
    "": ("methods", "  rotnet", "2018", "protocols", "datasets", "encoders", "`list recipe`", "`list checkpoints`"),
    "methods": ("  contrastive", "2020  Momentum contrast (MoCo)"),
    "protocols": ("Linear probe: how well", "k nearest neighbours: are"),
    "recipe": ("--set recipe.batch_size=128  (int, at least 2)", "smoke: views=4000"),
    "moco": ("moco (method)", "--set moco.temperature=0.07", "in presets shorter", "  moco@v2_800ep"),
    "timm": ("timm (encoder)", "--set timm.name=resnet18"),
    "moco@v2_800ep": ("moco@v2_800ep (checkpoint)", "linear conv5 71.1 %", "CC-BY-NC-4.0"),
    "moco@published": ("moco@v1_200ep (checkpoint)", "moco@v2_800ep (checkpoint)"),
    "checkpoints": ("moco@v2_800ep", "timm/vit_small_patch16_224", "lightness, mean 50, std 1", "all@published"),
}
MISTAKES = {  # words of `list`, and what the error says
    "recipes": "'recipes' is not known. Did you mean 'recipe'?",
    "checkpoint": "Did you mean 'checkpoints'?",
    "method": "Did you mean 'methods'?",
    "rotnt": "Did you mean 'rotnet'?",
    "moco@v2_80ep": "list moco@v2_80ep: moco has no checkpoint 'v2_80ep'. Did you mean 'moco@v2_800ep'?",
    "mocco@v2_800ep": "list: 'mocco' is not known. Did you mean 'moco'?",
    "--kind x": "--kind: there is no such option.",
    "checkpoints --encodr resnet50": "Did you mean '--encoder'?",
    "checkpoints --encoder resnet51": "--encoder resnet51: no registered checkpoint has this encoder. Did you mean",
    "checkpoints --licence mit": "--licence mit: no registered checkpoint has this licence. Known: ",
    "checkpoints --linear-above 70": "'70' is not a fraction from 0 to 1, such as 0.7 for 70 %",
    "checkpoints --knn-above high": "'high' is not a fraction",
    "checkpoints --linear-above nan": "'nan' is not a fraction",
    "checkpoints --knn-above 0.99": "none passes --knn-above",
    "moco --encoder resnet50": "--encoder selects checkpoints",
    "moco simclr": "unrecognized arguments: simclr",
}


@pytest.mark.parametrize(("words", "parts"), SHOWN.items(), ids=[*SHOWN])
def test_each_word_shows_what_it_names(words: str, parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A word shows one thing or one kind of things, and nothing is shortened where the output is not a terminal."""
    assert main(["list", *words.split()]) == 0
    printed = capsys.readouterr().out
    for part in parts:
        assert part in printed
    assert "…" not in printed or words in ("", "moco", "timm", "datasets")
    assert "At this width" not in printed


@pytest.mark.parametrize(("words", "message"), MISTAKES.items(), ids=[*MISTAKES])
def test_an_unknown_word_or_filter_names_the_nearest(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the word, the reason and what was probably meant."""
    assert main(["list", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("words", ["", "moco", "recipe", "moco@v2_800ep", "checkpoints", "checkpoints --encoder nin"])
def test_lines_fit_the_terminal(
    words: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text is broken between words, an address never; all words of the piped output are there; tables stay tables."""
    assert main(["list", *words.split()]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr(listing, "terminal_width", lambda: width)
    assert main(["list", *words.split()]) == 0
    shown = capsys.readouterr().out
    for line in shown.splitlines():
        longest_word = max(map(len, line.split()), default=0)
        assert len(line) <= max(width, longest_word + 20)
    if not words.startswith("checkpoints"):
        assert shown.split() == piped.split()
    else:
        names = [[line.split()[0] for line in text.partition("\n\n")[0].splitlines()] for text in (piped, shown)]
        assert names[0] == names[1]
        assert ("At this width without" in shown) == (width < 100)


def test_narrow_tables_show_names_and_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 60 columns the encoder is shortened before the published numbers go; at 80 only the last columns go."""
    rows = {}
    for width in (60, 80):
        monkeypatch.setattr(listing, "terminal_width", lambda width=width: width)
        assert main(["list", "checkpoints"]) == 0
        printed = capsys.readouterr().out
        rows[width] = next(line for line in printed.splitlines() if line.startswith("dino@vissl_vit_s16 ")).split()
        assert "without licence, fetched, input" in " ".join(printed.split())
    assert rows == {
        60: ["dino@vissl_vit_s16", "timm/vit_sm…", "73.4"],
        80: ["dino@vissl_vit_s16", "timm/vit_small_patch16_224", "73.4"],
    }


def test_filters_select_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    """Each filter holds for all rows that are left, and together they leave the rows that pass each of them."""

    def tokens(*filters: str) -> set[str]:
        assert main(["list", "checkpoints", *filters]) == 0
        lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()[2:]
        return {line.split()[0] for line in lines}

    every = tokens()
    of_encoder, accurate, free = (
        tokens(*filters) for filters in (("--encoder", "resnet50"), ("--linear-above=0.7",), ("--licence", "MIT"))
    )
    assert {"moco@v2_800ep", "mocov3@vit_b"} <= accurate < every
    assert "moco@v2_200ep" not in accurate, "67.7 %"
    assert {"moco@v2_800ep", "moco@v2_200ep"} <= of_encoder < every
    assert {"vicreg@rn50"} <= free < every
    assert tokens("--encoder", "resnet50", "--linear-above", "0.7", "--licence", "MIT") == of_encoder & accurate & free
    assert tokens("--linear-above", "0.711") >= {"moco@v2_800ep"}, "at least, not above"
    assert tokens("--knn-above", "0.7") == {"dino@vissl_vit_s16"}


def test_a_plugin_file_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--plugin adds a file's method to the others; without a year and a kind it is in a group of its own."""
    file = write_method(tmp_path, "mine", "        pass")
    assert main(["list", "methods", "--plugin", file]) == 0
    assert re.search(r"\n  other\n    mine +mine: made by a test\.", capsys.readouterr().out)
    assert main(["list", "mine", "--plugin", file]) == 0
    assert "--set mine.size=3  (int)" in capsys.readouterr().out
    assert main(["list", "--plugin", str(tmp_path / "gone.py")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_every_method_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Groups by kind lose no method and repeat none."""
    assert main(["list", "methods"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert sorted(names) == sorted(find_plugins("method"))


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells set COLUMNS, which a pipe must not obey."""
    monkeypatch.setenv("COLUMNS", "60")
    assert listing.terminal_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert listing.terminal_width() == 60


def test_listing_imports_little() -> None:
    """No package that is slow to import, and few modules in all: `list` answers within 0.3 s."""
    code = (
        "import sys\nfrom sslbench.bench.cli import main\n"
        "main(['list'])\nprint(len(sys.modules), file=sys.stderr)\n"
        "for word in ('moco', 'recipe', 'checkpoints', 'moco@v2_800ep'): main(['list', word])\n"
        "print(*({'torch', 'numpy', 'pandas', 'timm', 'rich', 'jinja2'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    count, heavy = done.stderr.split("\n")[:2]
    assert heavy == ""
    assert int(count) < 250, "of which Python itself has some 60 after starting"
