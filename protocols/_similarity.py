"""How similar the features of methods are to each other: a matrix of CKA, its table and its heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sslbench import TableCell, format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SKETCH = "sketch"  # name of the array that a measurement carries
FIELD = 0.135  # inches, the side of a field of the heat map


def cka_matrix(sketches: Sequence[np.ndarray]) -> np.ndarray:
    """Linear CKA of all pairs of features (N, R) of the same N images, which are centred: (M, M) from 0 to 1.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, equation 5.
    """
    columns = [sketch.astype(np.float32) / np.abs(sketch).max().clip(1e-30) for sketch in sketches]
    widths = [sketch.shape[1] for sketch in columns]
    whole = np.concatenate(columns, axis=1)
    squares = (whole.T @ whole).astype(np.float64) ** 2
    starts = np.cumsum([0, *widths[:-1]])
    shared = np.add.reduceat(np.add.reduceat(squares, starts, 0), starts, 1)
    own = np.sqrt(np.diag(shared)).clip(1e-30)
    matrix: np.ndarray = shared / np.outer(own, own)
    return matrix


def similarities(measured: DataFrame, metric: str, tap: str) -> tuple[list[str], np.ndarray]:
    """The labels whose sketches of a tap were saved, those with similar features next to each other, and their CKA.

    Only sketches of equally many images are compared: those that most labels have.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    saved = measured.attrs["arrays"]
    found = {label: saved.of(label, tap, metric, SKETCH) for label in measured["label"].unique()}
    sketches = {label: sketch for label, sketch in found.items() if sketch is not None and sketch.ndim == 2}
    lengths = [len(sketch) for sketch in sketches.values()]
    usual = max(lengths, key=lengths.count, default=0)
    sketches = {label: sketch for label, sketch in sketches.items() if len(sketch) == usual}
    labels = list(sketches)
    if len(labels) < 2:
        return labels, np.ones((len(labels),) * 2)
    matrix = cka_matrix(list(sketches.values()))
    distances = squareform((1 - matrix).clip(0), checks=False)
    order = leaves_list(linkage(distances, "average", optimal_ordering=True))
    return [labels[at] for at in order], matrix[np.ix_(order, order)]


def similarity_table(measured: DataFrame, metric: str) -> list[DataFrame]:
    """For each method and tap the method with the most similar features, and the mean CKA with all others."""
    import pandas as pd

    labels = measured["label"].unique().tolist()
    lines: dict[str, dict[Any, TableCell]] = {label: {"features most similar to": TableCell(label)} for label in labels}
    taps = measured.loc[measured["metric"] == metric, "tap"].unique().tolist()
    for tap in taps:
        names, matrix = similarities(measured, metric, tap)
        others = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
        for name, row in zip(names, others, strict=True) if len(names) > 1 else ():
            nearest = int(np.nanargmax(row))
            texts = [names[nearest], format_number(row[nearest], ""), format_number(float(np.nanmean(row)), "")]
            headings = ("method", "CKA", "mean CKA")
            lines[name] |= {(tap, heading): TableCell(text) for heading, text in zip(headings, texts, strict=True)}
    compared = [line for line in lines.values() if len(line) > 1]
    return [pd.DataFrame(compared).fillna("-")] if compared else []


def draw_similarity(measured: DataFrame, metric: str, figure: Figure) -> None:
    """A heat map of the CKA of all methods at the last tap; nothing for fewer than two methods."""
    import seaborn as sns

    tap = measured.loc[measured["metric"] == metric, "tap"].iloc[-1]
    labels, matrix = similarities(measured, metric, tap)
    if len(labels) < 2:
        return
    side = 1.6 + FIELD * len(labels)
    figure.set_size_inches(side + 0.5, side)
    axes = figure.subplots()
    options: dict[str, Any] = {"vmin": 0, "vmax": 1, "square": True, "cmap": "cividis", "linewidths": 0.3}
    sns.heatmap(matrix, ax=axes, cbar_kws={"label": f"linear CKA at {tap}", "shrink": 0.6}, **options)
    places = np.arange(len(labels)) + 0.5
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels, rotation=0)
    axes.tick_params(length=0)
