"""A map of the test images as an encoder sees them: images with like features lie close to each other.

t-SNE, van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008. It shows neighbourhoods;
sizes of clusters and distances between them mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data import Dataset
from ..encoders import weights_hash
from ..errors import UserError, did_you_mean
from ..evaluation.representation import FeatureSpec, Representation
from ..planning.plan import Data, Plan
from ..progress import Progress
from ..records.record import joined
from ..report import plots
from ..run.encoder import built_encoder, encoder_of, read
from ..run.preflight import checked, device_of
from ..run.runner import reason
from .pretext import of_all_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = 1000  # drawn at most: more points only cover each other
NEIGHBOURS = 30  # t-SNE's perplexity
MARKS = "osD^"  # shapes tell classes apart where ten colours do not


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """The figure's files, and the methods that are not on it, each with the reason."""

    files: list[Path]
    failed: dict[str, str]


def mapped(plan: Plan, taps: Sequence[str], folder: Path) -> Generator[Progress | Mapped, None, None]:
    """Draws a panel for each method of a plan and tap: its features of the test images, by t-SNE."""
    checked(plan, plan.jobs)
    known = built_encoder(plan, plan.jobs[0], torch.device("meta")).taps
    if unknown := [tap for tap in taps if tap not in known]:
        raise UserError(f"--taps: {plan.request.encoder} has no tap {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
    data, device = Data(plan), device_of(plan.request.device)
    whole = data.probing()
    read(plan, plan.jobs, data)
    chosen = of_all_classes(whole.test.labels, IMAGES, plan.request.seeds[0])
    test = replace(whole.test, images=whole.test.images[chosen], labels=whole.test.labels[chosen])
    dataset = replace(whole, train=replace(test, images=test.images[:1], labels=test.labels[:1]), test=test)
    features: dict[str, list[np.ndarray]] = {}
    failed, weights = {}, []
    for job in plan.jobs:
        name = job.method.name + (f", seed {job.recipe.seed}" if len(plan.request.seeds) > 1 else "")
        try:
            encoder, _ = yield from encoder_of(plan, job, data, device)
        except UserError:
            raise
        except Exception as error:
            failed[name] = reason(error)
            continue
        yield Progress(title=f"{name}: features", done=0, total=1)
        weights.append(weights_hash(encoder))
        seen = Representation(encoder, dataset, f"map {plan.facts.identity}", device, plan.request.precision)
        features[name] = [seen.test(FeatureSpec(tap)).cpu().numpy() for tap in taps]
    cell = (plan.facts.name, plan.request.encoder, plan.request.preset)
    title = f"test images of {cell[0]} as the encoders see them (t-SNE), {cell[1]}, {cell[2]}"

    @cache  # a figure is drawn once for each of its formats
    def places() -> dict[str, list[np.ndarray]]:
        return {name: [neighbourhoods(at, plan.request.seeds[0]) for at in of] for name, of in features.items()}

    drawing = partial(draw, places, taps, dataset, title)
    shows: list[Any] = [title, list(features), list(taps), plan.facts.identity, weights, IMAGES, NEIGHBOURS]
    files = plots.save(joined("map", *cell), shows, drawing, folder, ("png", "svg")) if features else []
    yield Mapped(files=files, failed=failed)


def draw(
    places: Callable[[], dict[str, list[np.ndarray]]], taps: Sequence[str], dataset: Dataset, title: str
) -> Figure:
    """A row of panels per tap, a panel per method, a colour and a shape per class."""
    import seaborn as sns

    maps = places()
    down, across = (len(taps), len(maps)) if len(taps) > 1 else grid(len(maps))
    figure = plots.canvas(1 + 2.6 * across, 1.4 + 2.7 * down)
    panels = figure.subplots(down, across, squeeze=False)
    labels, colours = dataset.test.labels.numpy(), sns.color_palette("colorblind")
    for axes in panels.flat:
        axes.axis("off")
    shown = [(name, tap, of[row].T) for row, tap in enumerate(taps) for name, of in maps.items()]
    for axes, (name, tap, (x, y)) in zip(panels.flat, shown, strict=False):
        for label in np.unique(labels):
            mark, colour = MARKS[label // len(colours) % len(MARKS)], colours[label % len(colours)]
            own = labels == label
            axes.scatter(x[own], y[own], 9, color=colour, marker=mark, linewidths=0, label=dataset.classes[label])
        axes.set_title(f"{name}, {tap}", fontsize=10)
    if len(dataset.classes) <= len(MARKS) * len(colours):
        handles, names = panels[0][0].get_legend_handles_labels()
        columns = max(2, 2 * across)
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9, markerscale=2
        )
    plots.title(figure, title)
    return figure


def grid(panels: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    across = min(panels, 4)
    return -(-panels // across), across


def neighbourhoods(features: np.ndarray, seed: int) -> np.ndarray:
    """Features (N, D) -> places (N, 2)."""
    from sklearn.manifold import TSNE

    near = min(NEIGHBOURS, max(1, (len(features) - 1) // 3))
    return TSNE(perplexity=near, init="pca", metric="cosine", random_state=seed, n_jobs=1).fit_transform(features)
