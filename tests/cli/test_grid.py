"""The command ``run FILE``: a sweep in a TOML file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sslbench.bench.api.grid import read_grid
from sslbench.bench.cli import main
from sslbench.bench.cli.grid import plans_of_file
from sslbench.bench.cli.options import build_parser, parse_given_options
from sslbench.bench.errors import UserError
from sslbench.bench.planning.plan import Plan
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from tests.builders import QUICK_OPTIONS

SWEEP = """\
methods = ["random", "rotnet"]
protocol = ["knn"]
preset = "smoke"
seeds = [0, 1]
results = "measured"

[set]
knn.k = [5, 10]
"synthetic.test" = 50
[set.synthetic]
train = 200

[sweep]
"encoder" = ["convnet", "resnet18"]
"rotnet.angles" = [[0, 180], [0, 90, 180, 270]]
"""


def plans(file: Path, text: str, *words: str) -> list[tuple[str, Plan]]:
    """The plans of a file with this text, and of these options on the command line."""
    file.write_text(text, encoding="utf-8")
    words = (str(file), *words)
    return plans_of_file(build_parser("run").parse_args(words), parse_given_options("run", list(words)))


def test_every_combination_is_a_plan_with_its_settings(tmp_path: Path) -> None:
    """Two encoders by two sets of angles, for each seed; a cell that several combinations share is in the first."""
    found = plans(tmp_path / "grid.toml", SWEEP)
    assert [title for title, _ in found] == [
        "encoder = convnet, rotnet.angles = 0,180",
        "encoder = convnet, rotnet.angles = 0,90,180,270",
        "encoder = resnet18, rotnet.angles = 0,180",
        "encoder = resnet18, rotnet.angles = 0,90,180,270",
    ]
    names = [[(job.name, job.recipe.seed, job.settings.get("angles")) for job in plan.jobs] for _, plan in found]
    untrained = [("random", 0, None), ("random", 1, None)]
    turned = [("rotnet", 0, (0, 180)), ("rotnet", 1, (0, 180))]
    turned_more = [("rotnet", 0, (0, 90, 180, 270)), ("rotnet", 1, (0, 90, 180, 270))]
    assert names == [untrained + turned, turned_more, untrained + turned, turned_more]
    assert {plan.request.encoder for _, plan in found[2:]} == {"resnet18"}
    for _, plan in found:
        assert (plan.dataset_info.train_images, plan.dataset_info.test_images) == (200, 50)
        assert {cell.settings["k"] for job in plan.jobs for cell in job.cells} == {(5, 10)}
        assert plan.request.results == tmp_path / "measured"


def test_options_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    """An option or setting that is given is no longer swept; the others stay."""
    words = ("--encoder", "nin", "--set", "rotnet.angles=0,90", "--set", "knn.k=7", "--seeds", "3", "--taps", "conv4")
    ((title, plan),) = plans(tmp_path / "grid.toml", SWEEP, *words, "--results", str(tmp_path / "other"))
    assert title == ""
    assert (plan.request.encoder, plan.request.seeds, plan.request.preset) == ("nin", (3,), "smoke")
    assert plan.request.results == tmp_path / "other"
    assert [job.settings.get("angles") for job in plan.jobs] == [None, (0, 90)]
    assert {cell.settings["k"] for job in plan.jobs for cell in job.cells} == {(7,)}


def test_what_is_not_given_is_as_on_the_command_line(tmp_path: Path) -> None:
    """Defaults are those of the program, such as the results folder."""
    ((_, plan),) = plans(tmp_path / "grid.toml", 'methods = "random"\n')
    assert plan.request.results == Path("results/local")
    assert plan.request.preset == "small"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Data, results, plugins, checkpoints and files of weights; absolute paths stay."""
    file = tmp_path / "grid.toml"
    text = """\
methods = ["file/a.pth", "rotnet"]
data-dir = "pictures"
pretrain-data-dir = "/elsewhere"
plugin = ["one.py", "two.py"]
[checkpoint]
rotnet = "b.pth"
"""
    file.write_text(text, encoding="utf-8")
    options = read_grid(file).options
    assert options == {
        "methods": [f"file/{tmp_path}/a.pth", "rotnet"],
        "data_dir": f"{tmp_path}/pictures",
        "pretrain_data_dir": "/elsewhere",
        "plugin": [f"{tmp_path}/one.py", f"{tmp_path}/two.py"],
        "checkpoint": {"rotnet": f"{tmp_path}/b.pth"},
    }


MISTAKES = {
    "not TOML": ('methods = "random"\nseeds = [,\n', ["grid.toml: is not TOML", "line 2"]),
    "no such option": ('methods = "random"\nmetods = "moco"\n', ["line 2: metods", "Did you mean 'methods'?"]),
    "no such option to sweep": ("[sweep]\nseed = [0]\n", ["line 2: seed", "Did you mean 'seeds'?"]),
    "results cannot be swept": ('[sweep]\nresults = ["a"]\n', ["line 2: results", "no such option"]),
    "no methods": ('preset = "smoke"\n', ["grid.toml", "methods: names nothing"]),
    "a number for a text": ('methods = "random"\npreset = 3\n', ["line 2: preset: 3", "text in quotation marks"]),
    "a text for a number": ('methods = "random"\n\nlimit = "ten"\n', ["line 3: limit: 'ten'", "whole number"]),
    "a text for a flag": ('overwrite = "yes"\n', ["line 1: overwrite: 'yes'", "true or false"]),
    "a negative seed": ("seeds = [0, -1]\n", ["line 1: seeds", "whole numbers"]),
    "numbers for names": ("methods = [1, 2]\n", ["line 1: methods", "list of texts"]),
    "a table for an option": ("[methods]\na = 1\n", ["line 1: methods", "list of texts"]),
    "a sweep of one value": ('methods = "random"\n[sweep]\nseeds = 3\n', ["line 3: seeds", "list of values"]),
    "a sweep of nothing": ('[sweep]\n"moco.dim" = []\n', ["line 2: moco.dim", "list of values"]),
    "a value above and a sweep": ('encoder = "nin"\n[sweep]\nencoder = ["vit"]\n', ["encoder", "remove one"]),
    "set is no table": ("set = 3\n", ["line 1: set", "not a table"]),
    "a setting without a plugin": ("[set]\ntemperature = 3\n", ["line 2: temperature", "plugin.key"]),
    "no such preset": ('methods = "random"\npreset = "smal"\n', ["line 2: --preset", "Did you mean 'small'?"]),
    "no such method": ('methods = ["moca"]\n', ["line 1: --methods", "Did you mean 'moco'?"]),
    "no such setting": (
        'methods = "moco"\n[set]\nknn.k = 3\nmoco.temprature = 1\nmoco.dim = 8\n',
        ["--set", "grid.toml, line 3"],
    ),
    "a setting out of range": (
        'methods = "moco"\n[sweep]\nmoco.dim = [8, 16]\nmoco.temperature = [0.1, 0]\n',
        ["line 4: moco.temperature = 0"],
    ),
    "a tap that is not there": (
        'methods = "random"\npreset = "smoke"\n[sweep]\nencoder = ["convnet", "nin"]\n',
        ["grid.toml: encoder = nin: nin has no tap 'conv5'"],
    ),
}


@pytest.mark.parametrize(("text", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_file_line_and_key(
    text: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2, before any work."""
    file = tmp_path / "grid.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["run", str(file), "--results", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not (tmp_path / "results").exists()


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with the reason."""
    assert main(["run", "nowhere.toml"]) == 2
    assert "nowhere.toml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_cells_are_measured_once_and_shown_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both encoders are measured, and the cell that does not depend on the sweep is measured once."""
    file = tmp_path / "grid.toml"
    text = 'methods = "random"\nprotocol = "knn"\npreset = "smoke"\n[set]\nknn.k = 5\n[sweep]\nconvnet.width = [4, 8]\n'
    file.write_text(text, encoding="utf-8")
    words = ["run", str(file), "--results", str(tmp_path / "results"), *QUICK_OPTIONS[:4]]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("untrained") == 2
    assert main(words) == 0
    found, _ = records.read_all(tmp_path / "results" / "records")
    assert sorted(record.settings.encoder["width"] for record in found) == [4, 8]
    assert "width = 8" in capsys.readouterr().out


def test_without_methods_a_file_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names both ways."""
    assert main(["run", "--protocol", "knn"]) == 2
    assert "--methods: name what to compare" in capsys.readouterr().err


def test_the_example_of_the_readme_is_a_grid(tmp_path: Path) -> None:
    """It is understood as printed; the test plans two of its eight combinations."""
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found = plans(tmp_path / "grid.toml", example, "--encoder", "convnet", "--set", "rotnet.angles=0,180")
    assert [title for title, _ in found] == ["moco.temperature = 0.07", "moco.temperature = 0.2"]
    names = [[(job.name, job.recipe.seed, len(job.cells)) for job in plan.jobs] for _, plan in found]
    moco = [("moco", 0, 2), ("moco", 1, 2)]
    assert names[0][:4] == [("rotnet", 0, 2), ("rotnet", 1, 2), *moco]  # the floor may follow
    assert names[1] == moco


def test_names_of_settings_keep_their_lines(tmp_path: Path) -> None:
    """Plain, quoted and in a table of their own, in both sections."""
    (tmp_path / "grid.toml").write_text(SWEEP, encoding="utf-8")
    lines = read_grid(tmp_path / "grid.toml").lines
    wanted = {"methods": 1, "knn.k": 8, "synthetic.test": 9, "synthetic.train": 11, "encoder": 14, "rotnet.angles": 15}
    assert {name: lines[name] for name in wanted} == wanted


def test_a_setting_text_needs_a_value(tmp_path: Path) -> None:
    """The settings of the command line are checked as without a file."""
    with pytest.raises(UserError, match=r"--set moco\.dim: write it as plugin\.key=value"):
        plans(tmp_path / "grid.toml", SWEEP, "--set", "moco.dim")
