"""Random command lines and damaged records for tests with hypothesis, and what must hold for each."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st

from sslbench.bench import cli
from sslbench.bench.cli import grid, main, weights
from sslbench.bench.plugins.discovery import FOLDERS, ROOT, plugin_files
from sslbench.bench.records import store as records
from sslbench.bench.run import runner

FEW = settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])
MANY = settings(FEW, max_examples=600)

# Commands that this test does not start: they measure, and have no function that could be replaced by a stub.
MEASURING = {"choose", "export"}
COMMANDS = sorted({*cli.COMMANDS_WITHOUT_A_PLAN, *cli.DESCRIPTIONS} - MEASURING)
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "bench/cli").glob("*.py"))
OPTIONS = sorted(set(re.findall(r'"(--[a-z][a-z-]+)"', SOURCES)) - {"--debug"})  # it raises errors on purpose
NAMES = sorted({path.stem for kind in FOLDERS for path in plugin_files(kind)} - {"timm", "torchvision"})
FILES = [
    "pictures",
    "results",
    "text.txt",
    "broken.py",
    "broken.toml",
    "broken.pt",
    "empty",
    "missing/x",
    ".",
    "/dev/null",
]
NUMBERS = ["0", "1", "-1", "0.5", "nan", "inf", "1e9", "99999999999999999999", "٣", "1,2", "0,0"]
ODD = [
    "",
    " ",
    ",",
    "=",
    "@",
    "a=b",
    "a.b=c",
    "all",
    "all@published",
    "moco@",
    "@x",
    "file/",
    "hf/a/b",
    "x" * 300,
    "-",
    "--",
]
SETTINGS = [
    f"{owner}.{name}={value}"
    for owner, name in (("moco", "dim"), ("recipe", "views"), ("linear", "head"), ("knn", "k"), ("synthetic", "train"))
    for value in ("", "0", "-1", "8", "mlp", "nan", "[]", "'")
]
FITTING = {  # an option -> words that may fit it
    "--methods": [
        "rotnet",
        "random,moco",
        "all",
        "pixels",
        "mae",
        "file/broken.pt",
        "moco@v2_800ep",
        "depth,clip,tracking",
    ],
    "--protocol": ["linear", "knn,fewlabels", "all", "rotations", "negatives"],
    "--encoder": ["convnet", "nin", "resnet18", "vit", "pixels", "convnet/big", "own"],
    "--dataset": ["synthetic", "folder", "clips", "cifar10", "imagenet"],
    "--pretrain-dataset": ["synthetic", "folder", "stl10"],
    "--data-dir": FILES,
    "--pretrain-data-dir": FILES,
    "--image-size": ["8", "32", "33", "64", "0", "-1", "3000"],
    "--seeds": ["0", "0,1", "2147483648"],
    "--taps": ["conv5", "all", "conv1,conv1", "conv9", "pixels"],
    "--preset": ["smoke", "small", "paper"],
    "--precision": ["auto", "fp32", "bf16"],
    "--device": ["cpu", "auto", "cuda:9", "meta"],
    "--set": SETTINGS,
    "--variant": ["negatives=16", "batch=256", "x"],
    "--checkpoint": ["rotnet=broken.pt", "rotnet=missing", "rotnet="],
    "--encoder-from": ["os.path:join", "torch.nn:Identity", "missing:x", "x"],
    "--plugin": FILES,
    "--results": ["results", "empty", "text.txt", "new", "new/x"],
    "--card": ["rotnet", "linear", "-", "0"],
    "--tolerance": NUMBERS,
    "--level": NUMBERS,
    "--linear-above": NUMBERS,
    "--limit": NUMBERS,
}
UNKNOWN = st.text(st.characters(exclude_characters="\0/~"), max_size=12)  # no absolute path, nothing in a home folder


def command_lines() -> st.SearchStrategy[list[str]]:
    """Words after the program's name: mostly options that exist with values that may fit, and some that are random."""
    fitting = st.sampled_from(sorted(FITTING)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(FITTING[name]))
    )
    value = st.one_of(*map(st.sampled_from, (NAMES, FILES, NUMBERS, ODD, SETTINGS)), UNKNOWN)
    option = st.sampled_from(OPTIONS)
    random_part = st.one_of(
        st.tuples(option, value),
        st.builds(lambda name, text: (f"{name}={text}",), option, value),
        st.tuples(option),
        st.tuples(value),
    )
    start = st.one_of(
        st.sampled_from(
            [["--methods", "rotnet,random"], ["pretrain", "--methods", "moco"], ["map", "--methods", "random"]]
        ),
        st.sampled_from(["rotnet", "random", "mae"]).map(lambda name: ["show", name]),
        st.just(["--methods", "rotnet", "--dry-run"]),
        st.sampled_from(COMMANDS).map(lambda word: [word]),
        st.sampled_from(
            [["compare", "results", "results"], ["report", "--results", "results"], ["list", "checkpoints"]]
        ),
        st.lists(UNKNOWN, max_size=1),
    )
    parts = st.builds(
        lambda usual, odd: [*usual, *odd], st.lists(fitting, max_size=3), st.lists(random_part, max_size=1)
    )
    return st.builds(lambda first, rest: [*first, *(word for part in rest for word in part)], start, parts)


def write_files(folder: Path) -> None:
    """What the words of `FILES` name: a small data set, results, and files that are not what they are named after."""
    from PIL import Image

    for split in ("train", "test"):
        for label in "ab":
            (folder / "pictures" / split / label).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(
                    folder / "pictures" / split / label / f"{number}.png"
                )
    copy_predictions(folder / "results" / "records")
    for number, content in enumerate(example_contents()):
        (folder / "results" / "records" / f"{number}.json").write_text(json.dumps(content))
    (folder / "empty").mkdir()
    for name, text in (
        ("text.txt", "text"),
        ("broken.py", '"""Broken."""\nclass Broken('),
        ("broken.toml", "methods = ["),
        ("broken.pt", "PK"),
    ):
        (folder / name).write_text(text)


@contextlib.contextmanager
def captured_streams() -> Iterator[dict[str, io.BytesIO]]:
    """Both streams of the program as bytes; they fail on what a terminal could not show, as real ones do."""
    streams = {name: io.BytesIO() for name in ("stdout", "stderr")}
    with pytest.MonkeyPatch.context() as patch:
        wrappers = [io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in streams.values()]
        for name, wrapper in zip(streams, wrappers, strict=True):
            patch.setattr(sys, name, wrapper)
        yield streams
        for wrapper in wrappers:
            wrapper.detach()


def run_words(words: list[str]) -> tuple[int, str, str]:
    """Runs the command line in this process; returns its exit code and what it wrote on the two streams."""
    with captured_streams() as streams:
        try:
            code = main(words)
        except SystemExit as end:  # --help and --version
            code = int(end.code or 0)
    return code, *(stream.getvalue().decode() for stream in streams.values())


def check_command_line(words: list[str], folder: Path) -> None:
    """Any words end with exit code 0, 1 or 2 and without a traceback; 2 is one line that begins with "error: "."""
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        for place, name in (
            (cli, "measure"),
            (cli, "pretrain"),
            (cli, "show"),
            (cli, "draw_map"),
            (grid, "measure_grid"),
        ):
            patch.setattr(place, name, lambda plan, options: 0)
        for name in ("measure_missing", "pretrain_encoders"):  # a new command needs a stub or a place in `MEASURING`
            patch.setattr(runner, name, None)
        patch.setattr(weights, "fetch_checkpoint", lambda *_: iter(()))
        code, _, printed = run_words(words)
    assert code in (0, 1, 2), printed
    assert "Traceback" not in printed
    if code == 2 and "compare" not in words[:1]:  # which ends with 2 also where cells cannot be compared
        *warnings, error = printed.splitlines()
        assert error.startswith("error: ")
        assert len(error) > len("error: ")
        assert not any(line.startswith("error: ") for line in warnings)


@cache
def example_files() -> list[Path]:
    """Two measured records: two methods asked the same question, so that they share a table."""
    return sorted((ROOT / "results/synthetic/records").glob("*-linear-*.json"))[:2]


def example_contents() -> list[Any]:
    """These records as parsed JSON."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in example_files()]


def copy_predictions(folder: Path) -> None:
    """Copies what the example records predict of each image into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in example_files():
        shutil.copy(path.with_suffix(".npz"), folder)


HOSTILE: dict[type, list[Any]] = {
    str: [
        "",
        "../../x",
        "\0",
        "a\nb",
        "=1+1",
        "<script>x</script>",
        "a|b",
        "$x_1$",
        "%n{}\\",
        "\ud800",
        "🙂" * 99,
        "\u202e",
    ],
    int: [-1, 0, 1, 10**18, -(10**400)],
    float: [-1.0, 0.0, 1e308, -1e308, 5e-324],
    list: [[]],
    dict: [{}],
    bool: [True, False],
}
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(
            [-1, 0, 2, 1e308, 10**400, "", "nan", "../x", "\0", "=1+1", "<b>", "|", "$x$", "\ud800", "🙂" * 50]
        ),
        st.text(max_size=5),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def damaged_contents() -> st.SearchStrategy[Any]:
    """Parsed JSON of a record in which one to three parts were replaced, renamed or removed."""
    kinds = st.sampled_from(["replace", "hostile", "hostile", "remove", "rename"])
    changes = st.lists(st.tuples(st.integers(0, 2**32), kinds, JSON), min_size=1, max_size=3)
    return st.tuples(st.integers(0, 1), changes).map(lambda drawn: damaged(example_contents()[drawn[0]], drawn[1]))


def damaged(content: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """A copy of parsed JSON with each change (seed of its place, kind, new value) applied."""
    content = copy.deepcopy(content)
    for seed, kind, value in changes:
        chooser = random.Random(seed)
        parent, key = chooser.choice(list(places_in(content)))
        if kind == "replace":
            parent[key] = value
        elif kind == "hostile":  # of the right type, so that the record is read
            parent[key] = chooser.choice(HOSTILE.get(type(parent[key]), [parent[key]]))
        elif kind == "remove" or isinstance(parent, list):
            del parent[key]
        else:
            parent[f"{key}_"] = parent.pop(key)
        if not list(places_in(content)):
            break
    return content


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container within parsed JSON with each of its keys or positions, at any depth."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_in(value[key])


def check_damaged_record(content: Any, folder: Path, *, report: bool) -> None:
    """A damaged record next to a whole one is shown or skipped with its name and a reason; nothing fails."""
    written = folder / "records"
    copy_predictions(written)
    other = folder / "other"
    copy_predictions(other / "records")
    for path in example_files():
        shutil.copy(path, other / "records")
    whole = example_contents()[1]
    (written / "whole.json").write_text(json.dumps(whole))
    (written / "damaged.json").write_text(json.dumps(content))
    found, skipped = records.read_all(written)
    assert 1 <= len(found) <= 2
    assert len(found) + len(skipped) <= 2
    assert all(path.name == "damaged.json" and reason and "\n" not in reason for path, reason in skipped)
    key = content.get("key") if isinstance(content, dict) else None
    commands = [["compare", str(folder), str(other)], ["report", "--card", str(key or whole["key"])]]
    commands += [["report", "--html"]] if report else []
    for words in commands:
        words = [*words, "--results", str(folder)] if words[0] == "report" else words
        code, shown, errors = run_words(words)
        assert code in (0, 1, 2), words
        assert "Traceback" not in errors
        assert ("damaged.json" in shown + errors) >= bool(skipped), words
