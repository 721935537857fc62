"""Published numbers: they are as printed, and each has a source."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.report.published import COLUMNS, FOLDER, find_references, published_frame

ROW = dict.fromkeys(COLUMNS, "x") | {
    "metric": "accuracy",
    "value": "0.5",
    "reference": "https://arxiv.org/abs/1803.07728",
}


def write_rows(folder: Path, *rows: dict[str, str]) -> None:
    with open(folder / "linear.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("protocol", [path.stem for path in sorted(FOLDER.glob("*.csv"))])
def test_every_published_file_loads(protocol: str) -> None:
    """Each row in results/published has a source, a place to read it and an accuracy as a fraction."""
    rows = published_frame(protocol)
    assert len(rows)
    assert rows["value"].between(0, 1).all()
    assert not rows.duplicated(["method", "label", "dataset", "encoder", "protocol", "setting", "tap", "metric"]).any()


def test_the_lectures_table_is_there() -> None:
    """conv4 and conv5 of the non-linear classifier on ImageNet are as in RotNet's Table 4."""
    rows = published_frame("linear")
    rows = rows[rows["source"] == "RotNet (Gidaris 2018), Table 4"]
    printed = {
        "supervised": (0.597, 0.597),
        "random": (0.271, 0.12),
        "tracking": (0.388, 0.298),
        "relative_patch": (0.456, 0.304),
        "colorization": (0.407, 0.352),
        "jigsaw": (0.453, 0.346),
        "bigan": (0.419, 0.322),
        "nat": (None, 0.36),
        "rotnet": (0.5, 0.438),
    }
    assert dict(zip(zip(rows["method"], rows["tap"], strict=True), rows["value"], strict=True)) == {
        (method, tap): value
        for method, values in printed.items()
        for tap, value in zip(("conv4", "conv5"), values, strict=True)
        if value is not None
    }


def test_the_rotations_table_is_there() -> None:
    """The accuracies are as in RotNet's Table 2."""
    assert published_frame("rotations")["value"].tolist() == [0.8906, 0.8851, 0.8746, 0.8552]


def test_a_protocol_without_published_numbers_has_none() -> None:
    """Without a file there are no rows and no column in the table."""
    assert published_frame("no_such_protocol").empty
    assert find_references("no_such_protocol", {"rotnet"}, ["conv4"], "accuracy") is None


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A protocol may have no file; a missing folder is an error of one line that names it."""
    assert published_frame("linear", tmp_path).empty
    with pytest.raises(UserError, match=r"gone: the published numbers are missing; .* install sslbench again"):
        published_frame("linear", tmp_path / "gone")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": ""}, "source is empty"),
        ({"reference": " "}, "reference is empty"),
        ({"source": "", "reference": ""}, "source, reference is empty"),
        ({"reference": "somewhere"}, "no web address"),
        ({"value": "high"}, "not a number"),
        ({"value": "50.0"}, "not a fraction"),
    ],
)
def test_a_row_without_a_source_is_rejected(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    """The error names the file, the line and what is wrong."""
    write_rows(tmp_path, ROW, ROW | change)
    with pytest.raises(UserError, match=rf"linear\.csv, line 3: .*{reason}"):
        published_frame("linear", tmp_path)


def test_a_file_without_a_column_is_rejected(tmp_path: Path) -> None:
    """The error names the missing column."""
    (tmp_path / "linear.csv").write_text("method,value\nrotnet,0.5\n")
    with pytest.raises(UserError, match=r"linear\.csv: column label"):
        published_frame("linear", tmp_path)


def test_a_table_shows_the_numbers_of_one_setting() -> None:
    """Numbers of two data sets or classifiers are not mixed; the setting that covers most taps is shown."""
    lecture = find_references("linear", {"rotnet", "nat"}, ["conv4", "conv5"], "accuracy")
    assert lecture is not None
    assert lecture.setting == "ImageNet-1k, AlexNet, non-linear classifier"
    assert lecture.values == {("rotnet", "", "conv4"): 0.5, ("rotnet", "", "conv5"): 0.438, ("nat", "", "conv5"): 0.36}
    every_tap = find_references("linear", {"rotnet"}, ["conv1", "conv2", "conv3", "conv4", "conv5"], "accuracy")
    assert every_tap is not None
    assert every_tap.setting == "ImageNet-1k, AlexNet, linear classifier"
    assert find_references("linear", {"simclr"}, ["conv4"], "accuracy") is None
