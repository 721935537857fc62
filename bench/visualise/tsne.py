"""A map of the test images for each encoder: images with similar features are close to each other.

t-SNE, van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008. The map shows which images are neighbours;
the sizes of clusters and the distances between them have no meaning.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data import Dataset
from ..encoders import weights_hash
from ..errors import UserError, did_you_mean, plugin_traceback, with_place
from ..evaluation.feature_spec import FeatureSpec
from ..evaluation.representation import Representation
from ..planning.plan import MAX_WORDS, Plan, PlannedDatasets
from ..progress import Progress
from ..records.store import file_name
from ..report import plots
from ..run.encoder import build_encoder, check_pretraining_data, input_identity, load_or_pretrain
from ..run.preflight import check_jobs, device_of
from ..run.runner import failure_reason
from ..storage.hashing import fingerprint
from .pretext import balanced_indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_IMAGES = 1000  # more points would cover each other
PERPLEXITY = 30
MARKERS = "osD^"  # with more than ten classes the marker distinguishes those of the same colour


@dataclass(frozen=True, kw_only=True)
class TsneFigure:
    """The figure's files, and the methods that failed with the reason of each."""

    files: list[Path]
    failed: dict[str, str]


def draw_tsne(plan: Plan, taps: Sequence[str], folder: Path) -> Generator[Progress | TsneFigure, None, None]:
    """Draw one panel per method of the plan and tap: the t-SNE map of the test images' features."""
    check_jobs(plan, plan.jobs)
    known = build_encoder(plan, plan.jobs[0], torch.device("meta")).taps
    if unknown := [tap for tap in taps if tap not in known]:
        raise UserError(f"--taps: {plan.request.encoder} has no tap {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
    data, device = PlannedDatasets(plan), device_of(plan.request.device)
    dataset = mapped_dataset(data.probing_dataset(), plan.request.seeds[0])
    check_pretraining_data(plan, plan.jobs, data)
    features: dict[str, list[np.ndarray]] = {}
    failed, weights = {}, []
    for job in plan.jobs:
        name = job.method.name + (f", seed {job.recipe.seed}" if len(plan.request.seeds) > 1 else "")
        try:
            encoder, _ = yield from load_or_pretrain(plan, job, data, device)
        except UserError:
            raise
        except Exception as error:
            if plan.request.debug:
                raise
            failed[name] = with_place(failure_reason(error), plugin_traceback(error))
            continue
        yield Progress(title=f"{name}: features", done=0, total=1)
        weights.append(weights_hash(encoder))
        own = plan.with_encoder_of(job.external)
        identity = [plan.dataset_info.identity, own.request.encoder, own.encoder_settings, *input_identity(job)]
        shown = mapped_dataset(data.dataset_of(job), plan.request.seeds[0]) if job.decodes_files else dataset
        precision = plan.request.precision
        representation = Representation(encoder, shown, f"map {fingerprint(identity)}", device, precision)
        pooling: Any = (job.external.pooling_for("knn") if job.external else "") or "average"
        specs = [FeatureSpec(tap, pooling=pooling) for tap in taps]
        features[name] = [representation.test(spec).cpu().numpy() for spec in specs]
    cell = (plan.dataset_info.name, plan.request.encoder, plan.request.preset)
    title = f"t-SNE of the encoders' features, test images of {cell[0]}, {cell[1]}, {cell[2]}"

    def draw() -> Figure:
        seed = plan.request.seeds[0]
        positions = {name: [tsne_positions(at_tap, seed) for at_tap in by_tap] for name, by_tap in features.items()}
        return draw_panels(positions, taps, dataset, title)

    content: list[Any] = [
        title,
        list(features),
        list(taps),
        plan.dataset_info.identity,
        weights,
        MAX_IMAGES,
        PERPLEXITY,
    ]
    name = file_name("map", *cell, *map_words(plan, taps))
    files = plots.save_figure(name, content, draw, folder, ("png", "svg")) if features else []
    yield TsneFigure(files=files, failed=failed)


def map_words(plan: Plan, taps: Sequence[str]) -> list[str]:
    """What the name of a map says in addition to data, encoder and preset; long lists of methods become a hash."""
    methods = "_".join(job.name for job in plan.jobs if job.recipe.seed == plan.request.seeds[0])
    words = [methods if len(methods) <= MAX_WORDS else fingerprint(methods)[:8]]
    words += [*taps] if tuple(taps) != ("conv5",) else []
    return [*words, *plan.request.unusual_words("dataset", "encoder", "preset")]


def mapped_dataset(dataset: Dataset, seed: int) -> Dataset:
    """The data set with at most ``MAX_IMAGES`` test images, and with one train image, since the map shows none."""
    indices = balanced_indices(dataset.test.labels, MAX_IMAGES, seed)
    test = replace(dataset.test, images=dataset.test.images[indices], labels=dataset.test.labels[indices])
    return replace(dataset, train=replace(test, images=test.images[:1], labels=test.labels[:1]), test=test)


def draw_panels(positions: Mapping[str, list[np.ndarray]], taps: Sequence[str], dataset: Dataset, title: str) -> Figure:
    """One row of panels per tap, one panel per method, and one colour and marker per class.

    ``positions``: method -> for each tap the positions (N, 2) of the test images.
    """
    import seaborn as sns

    rows, columns = (len(taps), len(positions)) if len(taps) > 1 else grid_shape(len(positions))
    figure = plots.empty_figure(1 + 2.6 * columns, 1.4 + 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    labels, colours = dataset.test.labels.numpy(), sns.color_palette("colorblind")
    for axes in panels.flat:
        axes.axis("off")
    maps = [(name, tap, by_tap[row].T) for row, tap in enumerate(taps) for name, by_tap in positions.items()]
    for axes, (name, tap, (x, y)) in zip(panels.flat, maps, strict=False):
        for label in np.unique(labels):
            marker, colour = MARKERS[label // len(colours) % len(MARKERS)], colours[label % len(colours)]
            in_class = labels == label
            axes.scatter(
                x[in_class], y[in_class], 9, color=colour, marker=marker, linewidths=0, label=dataset.classes[label]
            )
        axes.set_title(f"{name}, {tap}", fontsize=10)
    if len(dataset.classes) <= len(MARKERS) * len(colours):
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=2 * columns, frameon=False, fontsize=9, markerscale=2
        )
    plots.add_title(figure, title, size=12)
    return figure


def grid_shape(panels: int) -> tuple[int, int]:
    """Rows and columns of a grid for this number of panels, at most four columns."""
    columns = min(panels, 4)
    return math.ceil(panels / columns), columns


def tsne_positions(features: np.ndarray, seed: int) -> np.ndarray:
    """Features (N, D) -> positions (N, 2)."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, max(1, (len(features) - 1) // 3))
    tsne = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(features))
