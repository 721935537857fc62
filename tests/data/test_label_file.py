"""Tests of label files: which columns are labels and which are numbers, and the errors for wrong lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.data._label_file import LabelFile, read_label_file
from sslbench.bench.errors import UserError

PICTURES = ("train/a.png", "train/b.png", "test/c.png")
CONTENT = """path,labels,sunny,age,weight
test/c.png,dog; tree,0,3,-1.5
train/a.png,cat,1,1,2e3
./train/b.png,,1,0,0.5
"""


def label_file(folder: Path, content: str, *, is_named: bool = True) -> LabelFile:
    """A label file with this content."""
    (folder / "labels.csv").write_text(content, encoding="utf-8")
    found = read_label_file(folder / "labels.csv", is_named=is_named)
    assert found is not None
    return found


def test_columns_are_labels_or_numbers(tmp_path: Path) -> None:
    """Listed names come first, then columns of 0 and 1; rows are in the order of the pictures, not of the lines."""
    table = label_file(tmp_path, CONTENT)
    assert table.provides == {"multi_labels", "values"}
    labels, values = table.multi_labels(PICTURES), table.values(PICTURES)
    assert labels.names == ("cat", "dog", "tree", "sunny")
    assert labels.rows.astype(int).tolist() == [[1, 0, 0, 1], [0, 0, 0, 1], [0, 1, 1, 0]]
    assert values.names == ("age", "weight")
    assert values.rows.tolist() == [[1, 2000], [0, 0.5], [3, -1.5]]
    assert values.rows.dtype == "float32"


def test_the_digest_depends_on_the_pictures_targets_alone(tmp_path: Path) -> None:
    """Another order of lines or a byte order mark changes nothing; another number changes only the numbers' digest."""
    lines = CONTENT.splitlines()
    first = label_file(tmp_path, CONTENT)
    same = label_file(tmp_path, "\ufeff" + "\n".join([lines[0], *reversed(lines[1:]), ""]))
    other = label_file(tmp_path, CONTENT.replace("2e3", "2e4"))
    assert same.values(PICTURES).digest == first.values(PICTURES).digest
    assert same.multi_labels(PICTURES).digest == first.multi_labels(PICTURES).digest
    assert other.values(PICTURES).digest != first.values(PICTURES).digest
    assert other.multi_labels(PICTURES).digest == first.multi_labels(PICTURES).digest


def test_a_file_of_another_purpose_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A labels.csv without paths is not used, unless a setting names it."""
    (tmp_path / "labels.csv").write_text("class,count\ncat,3\n")
    assert read_label_file(tmp_path / "labels.csv", is_named=False) is None
    assert "no column 'path'" in caplog.text
    with pytest.raises(UserError, match=r"labels\.csv: the first line names no column 'path'\. Add it"):
        read_label_file(tmp_path / "labels.csv", is_named=True)


WRONG_FILES = {
    "missing pictures": ("path,x\ntrain/a.png,1.5\n", "no line for 2 of 3 pictures, such as 'train/b.png'"),
    "doubled picture": (CONTENT + "train/a.png,,0,2,2\n", r"line 5: 'train/a.png' is already in line 3"),
    "unknown picture": (CONTENT + "train/d.png,,0,2,2\n", r"line 5: there is no picture 'train/d.png'"),
    "text for a number": (CONTENT.replace("2e3", "heavy"), "line 3: 'heavy' in the column 'weight' is not a finite"),
    "not a number": (CONTENT.replace("2e3", "NaN"), "line 3: 'NaN' in the column 'weight' is not a finite number"),
    "too large": (CONTENT.replace("2e3", "1e39"), "line 3: '1e39' in the column 'weight' is not a finite number"),
    "no number": (CONTENT.replace("2e3", ""), "line 3: '' in the column 'weight' is not a finite number"),
    "too many cells": (CONTENT.replace("2e3", "2,3"), "line 3: 6 cells, but the first line names 5 columns"),
    "equal names": (CONTENT.replace("weight", "age"), "two columns have the same name"),
    "only paths": ("path\ntrain/a.png\n", "holds nothing but 'path'"),
    "no lines": ("path,age\n", "holds no pictures"),
    "nothing": ("", "names no column 'path'"),
    "a label of all": (CONTENT.replace(",0,3", ",1,3"), "every picture has the label 'sunny'"),
    "a label of none": (CONTENT.replace(",1,", ",0,"), "no picture has the label 'sunny'"),
    "no listed name": ("path,labels\ntrain/a.png,\ntrain/b.png,;\ntest/c.png,\n", "no line has a name"),
    "a name twice": (CONTENT.replace("cat", "sunny"), "'sunny' is a column and also in the column 'labels'"),
}


@pytest.mark.parametrize(("content", "words"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_wrong_file_is_reported_by_line(tmp_path: Path, content: str, words: str) -> None:
    """The message names the file, the line and the column, in one line."""
    with pytest.raises(UserError, match=words) as error:
        table = label_file(tmp_path, content)
        table.multi_labels(PICTURES)
        table.values(PICTURES)
    assert "labels.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "labels.csv").write_bytes(b"path,\xff\xfe\n")
    with pytest.raises(UserError, match=r"labels\.csv: cannot be read as CSV in UTF-8"):
        read_label_file(tmp_path / "labels.csv", is_named=False)
