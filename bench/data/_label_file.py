"""Reads a CSV file with several labels, or numbers, for each picture of a folder.

The first line names the columns. The column ``path`` holds the picture's path below the data directory, with slashes.
A column ``labels`` lists names separated by semicolons. Any other column of only 0 and 1 is a label with the column's
name; the remaining columns hold numbers.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ._listing import compose

PATH, NAMES = "path", "labels"  # columns with a meaning of their own
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class PictureTable:
    """A named column per label or number, and a row per picture."""

    names: tuple[str, ...]
    rows: NDArray[np.generic]  # (N, columns): bool for labels, float32 for numbers

    @property
    def digest(self) -> str:
        """Hex digest of the names and of all rows."""
        content = "\0".join(self.names).encode() + b"\n" + np.ascontiguousarray(self.rows).tobytes()
        return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class LabelFile:
    """The cells of a label file; they are checked only when they are needed."""

    file: Path
    lines: tuple[int, ...]  # line number of each row
    paths: tuple[str, ...]  # of each row's picture
    columns: Mapping[str, tuple[str, ...]]  # the other columns' cells, by name

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """The columns of only 0 and 1."""
        return tuple(name for name, cells in self.columns.items() if name != NAMES and {*cells} <= {"0", "1"})

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The columns of numbers."""
        return tuple(name for name in self.columns if name != NAMES and name not in self.flags)

    @property
    def provides(self) -> frozenset[str]:
        """Which targets it holds: "multi_labels", "values" or both."""
        has_labels = NAMES in self.columns or self.flags
        return frozenset(["multi_labels"] * bool(has_labels) + ["values"] * bool(self.numbers))

    def multi_labels(self, pictures: Sequence[str]) -> PictureTable:
        """The labels of the pictures with these paths. Raises UserError for unusable ones."""
        rows = self._rows_of(pictures)
        given = [frozenset(filter(None, map(str.strip, cell.split(";")))) for cell in self.columns.get(NAMES, ())]
        listed = sorted(frozenset().union(*given))
        if NAMES in self.columns and not listed:
            raise UserError(f"{self.file}: no line has a name in the column {NAMES!r}. Fill in or remove the column.")
        if doubled := [name for name in self.flags if name in listed]:
            raise UserError(f"{self.file}: {doubled[0]!r} is a column and also in the column {NAMES!r}. Rename one.")
        columns = [[name in names for names in given] for name in listed]
        columns += [[cell == "1" for cell in self.columns[name]] for name in self.flags]
        table = np.array(columns, bool).T[rows]
        for name, column in zip((*listed, *self.flags), table.T, strict=True):
            if column.all() or not column.any():
                every = "every" if column.all() else "no"
                raise UserError(f"{self.file}: {every} picture has the label {name!r}. Remove it.")
        return PictureTable((*listed, *self.flags), table)

    def values(self, pictures: Sequence[str]) -> PictureTable:
        """The numbers of the pictures with these paths. Raises UserError for cells that are not finite numbers."""
        rows = self._rows_of(pictures)
        columns = [self._numbers_in(name) for name in self.numbers]
        return PictureTable(self.numbers, np.array(columns, np.float32).T[rows])

    def _numbers_in(self, name: str) -> list[float]:
        found = []
        for line, cell in zip(self.lines, self.columns[name], strict=True):
            try:
                number = float(cell)
            except ValueError:
                number = math.nan
            if not abs(number) <= LARGEST:
                raise UserError(
                    f"{self.file}, line {line}: {cell!r} in the column {name!r} is not a finite number. "
                    "Correct it, or remove the column."
                )
            found.append(number)
        return found

    def _rows_of(self, pictures: Sequence[str]) -> list[int]:
        """The row of each picture. Raises UserError unless each picture has one row, and each row a picture."""
        rows: dict[str, int] = {}
        known = {compose(path) for path in pictures}
        for row, path in enumerate(self.paths):
            if path in rows:
                raise UserError(
                    f"{self.file}, line {self.lines[row]}: {path!r} is already in line {self.lines[rows[path]]}. "
                    "Remove one of them."
                )
            if path not in known:
                raise UserError(
                    f"{self.file}, line {self.lines[row]}: there is no picture {path!r}. Correct or remove the line; "
                    f"a path begins below the data directory, as in {pictures[0]!r}."
                )
            rows[path] = row
        if missing := [path for path in pictures if compose(path) not in rows]:
            raise UserError(
                f"{self.file}: no line for {len(missing):,} of {len(pictures):,} pictures, such as {missing[0]!r}. "
                "Add what is missing."
            )
        return [rows[compose(path)] for path in pictures]


def read_label_file(file: Path, *, is_named: bool) -> LabelFile | None:
    """Reads a label file; None for one without a column ``path`` that no setting names.

    Raises UserError for a file that cannot be read, or whose lines do not fit its first one.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file}: cannot be read as CSV in UTF-8 ({reason}). Correct it, or folder.labels.") from error
    header = rows[0][1] if rows else []
    if PATH not in header:
        if is_named:
            raise UserError(f"{file}: the first line names no column {PATH!r}. Add it: it holds each picture's path.")
        logging.getLogger(__name__).warning("%s: not used, because its first line names no column %r.", file, PATH)
        return None
    if len({*header}) < len(header) or not all(header):
        raise UserError(f"{file}: two columns have the same name, or one has none. Each needs a name of its own.")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{file}, line {line}: {len(row)} cells, but the first line names {len(header)} columns. Correct it."
            )
    if len(rows) == 1 or len(header) == 1:
        raise UserError(f"{file}: holds {'no pictures' if len(rows) == 1 else f'nothing but {PATH!r}'}. Fill it in.")
    columns = {name: tuple(row[i] for _, row in rows[1:]) for i, name in enumerate(header)}
    paths = tuple(compose(path.removeprefix("./")) for path in columns.pop(PATH))
    return LabelFile(file, tuple(line for line, _ in rows[1:]), paths, columns)
