"""A picture of a method's pretext task: the function ``sslbench.show``, and what it shares with the command."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..plugins.discovery import find_plugins, plugin_named
from ..progress import Progress
from .request import PathLike, make_request, path_of
from .run import plan_request, watch

if TYPE_CHECKING:
    from ..planning.plan import Plan, Request
    from ..visualise.pretext import PretextFigure


@dataclass(frozen=True)
class Picture:
    """A picture in a file, which a notebook shows."""

    file: Path
    note: str  # where the weights came from

    def _repr_png_(self) -> bytes:
        return self.file.read_bytes()


def show(
    method: str,
    *,
    images: int = 6,
    out: PathLike | None = None,
    encoder: str | None = None,
    encoder_from: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | str | Iterable[str] = (),
    dataset: str = "synthetic",
    data_dir: PathLike | None = None,
    image_size: int | None = None,
    preset: str = "small",
    device: str = "auto",
    plugin: PathLike | Iterable[PathLike] = (),
    results: PathLike = "results/local",
    progress: bool = True,
) -> Picture:
    """Draws a method's pretext task on test images: what goes in, what is asked, and what the trained method answers.

    An encoder without weights is pretrained first. Raises UserError for a mistake, or if the method cannot be trained.
    """
    words = locals()
    if not 1 <= images <= 32:
        raise UserError(f"show: images = {images}: it must be from 1 to 32.")
    plan = plan_to_show(make_request(words | {"methods": (method,), "seeds": seed}))
    figure = watch(draw_pretext_task(plan, images, None if out is None else path_of(out)), progress=progress)
    if figure.file is None:
        raise UserError(f"show: {method} failed: {figure.note}")
    return Picture(figure.file, figure.note)


def plan_to_show(request: Request) -> Plan:
    """The plan of a request for one method. Raises UserError if the method is not trained."""
    (name,) = request.methods
    method = plugin_named(name, find_plugins("method", request.plugin_files), "show")
    if not method.constants.get("trains", True):
        raise UserError(f"show: {method.name} has no pretext task, since nothing is trained; choose another method.")
    return plan_request(request)


def draw_pretext_task(plan: Plan, images: int, out: Path | None) -> Generator[Progress, None, PretextFigure]:
    """Draws the plan's only method into ``out``, by default a file in the results folder; yields progress."""
    from ..records.store import file_name
    from ..visualise.pretext import PretextFigure, draw_pretext

    (method,) = plan.request.methods
    name = file_name("show", method, *plan.request.unusual_words())
    figure = PretextFigure(file=None, note="")
    for event in draw_pretext(plan, images, out or plan.request.results / "figures" / f"{name}.png"):
        if isinstance(event, PretextFigure):
            figure = event
        else:
            yield event
    return figure
