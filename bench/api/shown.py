"""Tables and figures as notebooks show them: each object also has a text for terminals."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..report.overview import Overview
    from ..report.tables import Table

    Shown = Table | Overview


class Tables(tuple[Any, ...]):
    """Tables of a report. ``str`` gives the text of a terminal; `markdown`, `latex` and `html` give the other forms."""

    def __str__(self) -> str:
        from ..report.table_formats import as_text

        return "\n".join(map(as_text, self))

    def __repr__(self) -> str:
        return str(self)

    @property
    def markdown(self) -> str:
        """As GitHub shows them."""
        from ..report.table_formats import as_markdown

        return "\n".join(map(as_markdown, self))

    @property
    def latex(self) -> str:
        """For a paper that uses booktabs."""
        from ..report.table_formats import as_latex

        return "\n".join(map(as_latex, self))

    @property
    def html(self) -> str:
        """For a web page."""
        from ..report.table_formats import as_html

        return "\n".join(map(as_html, self))

    def _repr_html_(self) -> str:
        return self.html


class Figures(tuple["Figure", ...]):
    """Figures of matplotlib, with a text for readers who do not see them in ``texts``."""

    texts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self.texts)

    def _repr_html_(self) -> str:
        images = []
        for figure, text in zip(self, self.texts, strict=True):
            source = b64encode(encode_png(figure)).decode()
            images.append(f'<img src="data:image/png;base64,{source}" alt="{escape(text)}" style="max-width: 100%">')
        return "\n".join(images)


def encode_png(figure: Figure) -> bytes:
    """A figure as PNG, cut at its edges."""
    from io import BytesIO

    from ..report.plots import image_dpi

    content = BytesIO()
    figure.savefig(content, format="png", dpi=image_dpi(figure), bbox_inches="tight", pad_inches=0.05)
    return content.getvalue()


def draw_figures(tables: Tables) -> Figures:
    """The figure of each table, as the report draws it. Raises UserError if no table has a number."""
    from ..report.plots import styled_figure
    from ..report.plots.dots import draw_table_figure

    shown = [table for table in tables if not table.rows["mean"].isna().all()]
    if not shown:
        raise UserError("plot: there is no number to draw; every cell failed.")
    figures = Figures(styled_figure(lambda table=table: draw_table_figure(table)) for table in shown)  # type: ignore[misc]
    figures.texts = tuple(f"Figure of {table.title}." for table in shown)
    return figures
