"""``sslbench.run``: the options of the command line as arguments, and the same files, mistakes and interruptions."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path
from typing import Any

import pytest

import sslbench
from sslbench.bench.api.request import FIELDS, make_request
from sslbench.bench.api.run import shown_output, watch
from sslbench.bench.cli import main
from sslbench.bench.cli.options import build_parser, request_from
from sslbench.bench.progress import Progress
from sslbench.bench.run import runner
from tests.builders import QUICK_OPTIONS, QUICK_SETTINGS, write_method

SETTINGS = dict(setting.split("=") for setting in QUICK_SETTINGS)
OTHER_WORDS = {"set": "settings", "quiet": "progress"}  # option -> its argument, where the words differ
WITHOUT_ARGUMENT = {"help", "version"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, session_cache: None) -> sslbench.Results:
    """A tiny run of the floor and of a method that fails, with two seeds."""
    folder = tmp_path_factory.mktemp("run")
    return sslbench.run(
        ["random", "failing"],
        protocol=["knn"],
        seeds=[0, 1],
        settings=SETTINGS | {"knn.k": (5, 20), "convnet.width": 4},
        plugin=write_method(folder, "failing", "        raise RuntimeError('stopped on purpose')"),
        results=folder / "results",
        references=False,
        device="cpu",
        progress=False,
    )


def test_every_option_has_an_argument() -> None:
    """What the command line accepts can be given in Python under the same word, with the same default."""
    arguments = inspect.signature(sslbench.run).parameters
    actions = {action.dest: action for action in build_parser("run")._actions}
    options = {OTHER_WORDS.get(name, name) for name, action in actions.items() if action.option_strings}
    options -= WITHOUT_ARGUMENT
    assert options == set(arguments)
    assert FIELDS.keys() < options
    typed = request_from(build_parser("run").parse_args(["--methods", "rotnet"]))
    defaults = {name: argument.default for name, argument in arguments.items() if name != "methods"}
    assert make_request(defaults | {"methods": "rotnet"}) == typed


EQUAL_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "lists": (
        {"methods": ["rotnet", "moco"], "protocol": ("linear", "knn"), "taps": ["conv4", "conv5"], "seeds": range(2)},
        "--methods rotnet,moco --protocol linear,knn --taps conv4,conv5 --seeds 0,1",
    ),
    "texts": (
        {"methods": "rotnet,moco", "protocol": "linear,knn", "taps": "conv4,conv5", "seeds": "0,1"},
        "--methods rotnet,moco --protocol linear,knn --taps conv4,conv5 --seeds 0,1",
    ),
    "settings": (
        {"methods": "rotnet", "settings": {"rotnet.angles": (0, 180), "rotnet.flip": 0.25, "linear.bias": None}},
        "--methods rotnet --set rotnet.angles=0,180 --set rotnet.flip=0.25 --set linear.bias=None",
    ),
    "settings as texts": (
        {"methods": "rotnet", "settings": ["rotnet.angles=0,180", "rotnet.flip=0.25"]},
        "--methods rotnet --set rotnet.angles=0,180 --set rotnet.flip=0.25",
    ),
    "paths": (
        {
            "methods": "rotnet",
            "dataset": "folder",
            "data_dir": Path("a"),
            "results": "~/b",
            "plugin": Path("~/c.py"),
            "checkpoint": {"rotnet": Path("~/d.pt")},
        },
        "--methods rotnet --dataset folder --data-dir a --results ~/b --plugin ~/c.py --checkpoint rotnet=~/d.pt",
    ),
    "unreadable files": (
        {"methods": "rotnet", "dataset": "folder", "pretrain_dataset": "imagenet", "skip_unreadable": True},
        "--methods rotnet --dataset folder --pretrain-dataset imagenet --skip-unreadable",
    ),
    "variants": (
        {"methods": "rotnet", "variant": ["0,180", "90,270"], "encoder": "nin", "image_size": "48", "overwrite": True},
        "--methods rotnet --variant 0,180 --variant 90,270 --encoder nin --image-size 48 --overwrite",
    ),
    "one of each": (
        {
            "methods": ["rotnet"],
            "variant": "0,180",
            "seeds": 3,
            "checkpoint": "rotnet=d.pt",
            "plugin": ["a.py", "b.py"],
        },
        "--methods rotnet --variant 0,180 --seeds 3 --checkpoint rotnet=d.pt --plugin a.py --plugin b.py",
    ),
    "own network": (
        {"methods": "random", "encoder_from": "mynet:build", "references": False, "limit": 100},
        "--methods random --encoder-from mynet:build --no-references --limit 100",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), EQUAL_REQUESTS.values(), ids=EQUAL_REQUESTS)
def test_arguments_mean_what_the_options_mean(arguments: dict[str, Any], words: str) -> None:
    """Lists, numbers, paths and dictionaries become the request that the command line makes of its words."""
    typed = request_from(build_parser("run").parse_args(words.split()))
    defaults = {"protocol": "linear", "results": "results/local", "references": True}
    assert make_request(defaults | arguments) == typed


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"methods": ["rotnot"]}, "--methods: 'rotnot' is not known. Did you mean 'rotnet'?"),
    "protocol": ({"protocol": ["lineal"]}, "--protocol: 'lineal' is not known. Did you mean 'linear'?"),
    "no protocol": ({"protocol": None}, "--protocol: names nothing"),
    "setting": ({"settings": {"rotnet.angel": 3}}, "rotnet has no setting 'angel'. Did you mean 'angles'?"),
    "value": ({"settings": {"rotnet.flip": 2.0}}, "rotnet.flip = 2.0: it must be from 0 to 1"),
    "seed": ({"seeds": [0, -1]}, "--seeds: '0,-1' is not a list of whole numbers"),
    "size": ({"image_size": 33.5}, "--image-size: 33.5 is not a whole number of pixels"),
    "precision": ({"precision": "fp8"}, "--precision: 'fp8' is not known. Known: auto, fp32, bf16."),
    "two encoders": ({"encoder": "nin", "encoder_from": "a:b"}, "--encoder nin and --encoder-from a:b: use one"),
    "folder": ({"dataset": "folder", "data_dir": "/nowhere"}, "/nowhere"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_have_the_texts_of_the_command_line(
    arguments: dict[str, Any], message: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are UserErrors of one line, raised before any work."""
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    with pytest.raises(sslbench.UserError) as caught:
        sslbench.run(**{"methods": "rotnet", "results": results} | arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not results.exists()


def test_a_run_leaves_the_files_of_the_command(measured: sslbench.Results) -> None:
    """Records, predictions, tables and figures are saved, and the results name them."""
    assert {path.suffix for path in measured.files} >= {".json", ".npz", ".md", ".csv", ".tex", ".html", ".png", ".svg"}
    assert all(path.is_file() and path.is_relative_to(measured.folder) for path in measured.files)
    assert len([path for path in measured.files if path.suffix == ".json"]) == 4


def test_failed_cells_are_listed_and_do_not_raise(measured: sslbench.Results) -> None:
    """Each cell that fails has its reason; the others are measured."""
    assert [(one.cell.method, one.cell.seed, one.error) for one in measured.failed] == [
        ("failing", seed, "RuntimeError: stopped on purpose") for seed in (0, 1)
    ]
    succeeded = [record for record in measured.records if not record.failed]
    assert sorted((record.cell.method, record.cell.seed) for record in succeeded) == [("random", 0), ("random", 1)]
    assert repr(measured) == f"<Results of {measured.folder}: 4 records, 2 methods, 1 protocol, 2 failed>"
    assert "stopped on purpose" in measured._repr_html_()


def test_the_command_finds_what_python_measured(
    measured: sslbench.Results, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request on the command line measures nothing again and prints the same table."""
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    words = ["--methods", "random", "--protocol", "knn", "--seeds", "0,1", *QUICK_OPTIONS, "--device", "cpu"]
    words += ["--set", "knn.k=5,20", "--set", "convnet.width=4", "--results", str(measured.folder), "--no-references"]
    before = {path: path.stat().st_mtime_ns for path in measured.files if path.suffix == ".json"}
    assert main(words) == 0
    assert "random (floor)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_debug_raises_the_error_of_a_plugin(tmp_path: Path, results: Path) -> None:
    """With ``debug`` the plugin's own exception reaches the caller."""
    plugin = write_method(tmp_path, "broken", "        raise ArithmeticError('for the debugger')")
    options = {"settings": SETTINGS | {"convnet.width": 4}, "results": results, "progress": False, "debug": True}
    with pytest.raises(ArithmeticError, match="for the debugger"):
        sslbench.run("broken", protocol="knn", plugin=plugin, **options)


def test_a_dry_run_measures_nothing(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints the cells and returns what is measured already."""
    monkeypatch.setattr(runner, "measure_missing", None)
    found = sslbench.run("random", protocol="knn", settings=SETTINGS, results=results, dry_run=True)
    assert "random" in capsys.readouterr().out
    assert [record for record in found.records if record.folder and record.folder.is_relative_to(results)] == []


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_work_after_its_state_is_saved(number: int, error: type[BaseException]) -> None:
    """Ctrl-C is a KeyboardInterrupt, and the generator is closed, in which work saves its state."""
    closed = []

    def work() -> Any:
        try:
            for step in range(3):
                signal.raise_signal(number)
                yield Progress(title="work", done=step, total=3)
        finally:
            closed.append(True)

    with pytest.raises(error):
        watch(work(), progress=False)
    assert closed == [True]


def test_work_returns_its_value(tmp_path: Path) -> None:
    """``watch`` returns what a generator returns, and a log file gets the messages of the time."""

    def work() -> Any:
        yield Progress(title="work", done=1, total=1)
        return 7

    with shown_output(progress=False, log_file=tmp_path / "new" / "log.txt"):
        assert watch(work()) == 7
    assert (tmp_path / "new" / "log.txt").exists()
