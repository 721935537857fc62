"""Tables in LaTeX: a grid as a tabular of booktabs, and a table of settings for the appendix."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol import TableCell
from .grids import Grid

LATEX_MARKS = str.maketrans({"±": r"$\pm$", "≈": r"$\approx$", "↓": r"$\downarrow$"})
LATEX_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}"}
)
SETTINGS_COLUMNS = r"p{0.25\linewidth}p{0.7\linewidth}"


def latex_text(text: str) -> str:
    """The text with every special sign escaped."""
    return text.translate(LATEX_ESCAPES).translate(LATEX_MARKS)


def latex_grid(grid: Grid) -> str:
    """The grid as a tabular, in columns that are aligned in the source too; rules are set off by lines."""
    header = [latex_text(parts[-1]) for parts in grid.header]
    rows = [[latex_cell(cell) for cell in row] for row in grid.rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [r"\toprule", *group_lines(grid), latex_row(header, widths), r"\midrule"]
    for place, row in enumerate(rows):
        if place and (place in grid.rules or place - 1 in grid.rules):
            lines.append(r"\midrule")
        lines.append(latex_row(row, widths))
    return "\n".join([rf"\begin{{tabular}}{{{column_types(grid)}}}", *lines, r"\bottomrule", r"\end{tabular}"])


def column_types(grid: Grid) -> str:
    """The alignment of each column; space separates published numbers from measured ones."""
    types = ""
    for column in range(len(grid.header)):
        space = r"@{\hspace{2em}}" if column in grid.published and column - 1 not in grid.published else ""
        types += space + ("l" if column in grid.words else "r")
    return types


def group_lines(grid: Grid) -> list[str]:
    """The headings over groups of columns, with a line below each; none without groups."""
    groups = grid.header_groups()
    if not any(name for name, _ in groups):
        return []
    cells, lines, first = [], [], 1
    for name, count in groups:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{latex_text(name)}}}" if name else " & ".join([""] * count))
        if name:
            lines.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [" & ".join(cells) + r" \\", " ".join(lines)]


def latex_row(row: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a tabular."""
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return " " + " & ".join(cells) + r" \\"


def latex_cell(cell: TableCell) -> str:
    """A cell with the commands of its marks."""
    command = {"best": r"\textbf", "second best": r"\underline"}.get(cell.mark)
    text = latex_text("≈" * cell.tied_with_best + cell.text)
    return f"{command}{{{text}}}" if command else text


def latex_settings(settings: Sequence[tuple[str, str]], label: str) -> list[str]:
    """The lines of a table of settings, which names the table that it belongs to; none without settings."""
    if not settings:
        return []
    return [
        "",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{Settings of Table~\ref{{{label}}}.}}",
        rf"\label{{{label}-settings}}",
        r"\footnotesize",
        rf"\begin{{tabular}}{{{SETTINGS_COLUMNS}}}",
        r"\toprule",
        *(rf" {latex_text(name)} & {latex_text(text)} \\" for name, text in settings),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
