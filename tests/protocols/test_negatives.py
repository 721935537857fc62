"""The sweep over the number of negatives: its variants, its measurements, and the conclusions in the report."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sslbench.bench.data import DatasetInfo
from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.bench.protocol import TableCell
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.render import write_report
from sslbench.protocols._sweep import count_negatives, iterate_sweeps, join_words, main_failures, tick_labels
from sslbench.protocols.negatives import Negatives
from tests.protocols.builders import ideal_representation
from tests.records.builders import accuracy_record, changed_record


def dataset_info(classes: int = 4, train: int = 40) -> DatasetInfo:
    """A data set with the given numbers of classes and train images."""
    names = tuple(map(str, range(classes)))
    return DatasetInfo(name="few", identity="x", image_size=32, classes=names, train_images=train, test_images=20)


def test_each_method_has_its_own_sweep() -> None:
    """Four encoders per method; SimCLR varies the batch size, and scales the learning rate with its square root."""
    jobs = build_plan(Request(methods=("instdisc",), protocols=("negatives",))).jobs
    assert [job.settings["negatives"] for job in jobs] == [1, 16, 256, 4096]
    jobs = build_plan(Request(methods=("simclr",), protocols=("negatives",))).jobs
    assert [job.recipe.batch_size for job in jobs] == [16, 64, 256, 1024]
    assert len({job.recipe.views for job in jobs}) == 1
    rates = [job.recipe.learning_rate / math.sqrt(job.recipe.batch_size) for job in jobs]
    assert rates == pytest.approx([rates[0]] * 4)
    assert jobs[0].unvaried_recipe == {"batch_size": 128, "learning_rate": 0.002}
    assert jobs[0].deviations["recipe.batch_size"] == 16
    assert "recipe.batch_size" not in jobs[0].settings


def test_compared_batch_sizes_share_a_table() -> None:
    """Recipe changes of a variant do not separate tables; other recipe changes do."""
    small, large = sweep_record("simclr", "batch=16", 0.3, 0.3), sweep_record("simclr", "batch=256", 0.3, 0.3)
    assert len(group_comparable([small, large, sweep_record("moco", "negatives=16", 0.3, 0.3)])) == 1
    other = sweep_record("moco", "negatives=256", 0.3, 0.3)
    other = changed_record(other, settings={"recipe": {**other.settings.recipe, "batch_size": 32}})
    assert len(group_comparable([small, other])) == 2


def test_numbers_of_clusters_are_below_at_and_above_the_number_of_classes() -> None:
    """There are at least two clusters, and no number occurs twice."""
    assert Negatives().cluster_counts(10) == (5, 10, 40)
    assert Negatives().cluster_counts(3) == (2, 3, 12)
    assert Negatives(above=1.0).cluster_counts(2) == (2,)


def test_ideal_features_neither_under_nor_over_cluster() -> None:
    """Classes are separated with many clusters, whole with few, and nearest neighbours have the query's class."""
    numbers = {number.metric: number.value for number in Negatives(taps=("conv5",)).evaluate(ideal_representation())}
    assert numbers["homogeneity_k16"] == pytest.approx(1)
    assert numbers["completeness_k2"] == pytest.approx(1)
    assert numbers["hungarian_k4"] == pytest.approx(1)
    assert numbers["knn_accuracy"] == 1
    assert numbers["false_negatives"] == pytest.approx(0.25)
    assert numbers["false_negatives_hardest"] == 1
    assert numbers["bound"] == 1.5


@pytest.mark.parametrize(
    ("protocol", "data", "message"),
    [
        (Negatives(), dataset_info(classes=1), "one class"),
        (Negatives(above=20.0), dataset_info(), r"negatives.above = 20: 80 clusters are more than the 40 train images"),
        (Negatives(clustered=8), dataset_info(), "16 clusters are more than the 8"),
        (
            Negatives(neighbours=41),
            dataset_info(),
            r"negatives.neighbours = 41: few has only 40 train images; .*=4 fits",
        ),
    ],
)
def test_unsuitable_data_are_refused(protocol: Negatives, data: DatasetInfo, message: str) -> None:
    """One class, or more clusters or neighbours than images, raises UserError before any training."""
    with pytest.raises(UserError, match=message):
        protocol.check(data)
    Negatives(neighbours=40).check(dataset_info())


def test_the_default_number_of_neighbours_is_capped() -> None:
    """With fewer train images than the default all of them vote, and the details record their number."""
    Negatives().check(dataset_info())
    for protocol, k in ((Negatives(taps=("conv5",)), 40), (Negatives(taps=("conv5",), neighbours=7), 7)):
        (vote,) = (number for number in protocol.evaluate(ideal_representation()) if number.metric == "knn_accuracy")
        assert vote.details == {"k": k, "temperature": 0.07}


def test_features_that_are_not_finite_are_refused() -> None:
    """NaN features raise UserError."""
    broken = ideal_representation()
    broken.dataset.train.images[:] = torch.nan  # type: ignore[index]
    with pytest.raises(UserError, match="NaN"):
        list(Negatives(taps=("conv5",)).evaluate(broken))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("neighbours", 0),
        ("temperature", 0.0),
        ("below", 0.0),
        ("above", 0.5),
        ("above", math.inf),
        ("above", 1e308),
        ("temperature", math.nan),
        ("temperature", 1e-320),
        ("clustered", 0),
        ("paired", 1),
        ("hardest", 0.0),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    """The message names the setting and its value."""
    with pytest.raises(UserError, match=rf"negatives\.{setting} = {re.escape(str(value))}"):
        Negatives(**{setting: value})


def sweep_record(method: str, variant: str, homogeneity: float, completeness: float, half: float = 0.01) -> Record:
    """A record of one point; homogeneity grows with the number of clusters, completeness does not."""
    measurements = [
        Measurement(tap="conv5", metric=name, unit="fraction", value=value, ci_low=value - half, ci_high=value + half)
        for k, share in ((2, 0.5), (4, 0.8), (16, 1.0))
        for name, value in (
            (f"homogeneity_k{k}", share * homogeneity),
            (f"completeness_k{k}", completeness),
            *((f"{measure}_k{k}", 0.25) for measure in ("v_measure", "nmi", "ari", "hungarian")),
        )
    ]
    measurements += [
        Measurement(tap="conv5", metric=name, unit="fraction", value=0.5, ci_low=0.5 - half, ci_high=0.5 + half)
        for name in ("accuracy", "knn_accuracy")
    ]
    others = {
        "bound": 0.6,
        "false_negatives": 0.1,
        "false_negatives_hardest": 0.4,
        "alignment": 0.3,
        "uniformity": -2.5,
    }
    measurements += [
        Measurement(tap="conv5", metric=name, unit="fraction", value=value) for name, value in others.items()
    ]
    batch = int(variant.partition("=")[2]) if variant.startswith("batch") else 128
    record = accuracy_record(
        method,
        0,
        0,
        0,
        kind="pretrained",
        cell={"protocol": "negatives", "variant": variant},
        card={"taps": ["conv5"]},
        measurements=tuple(measurements),
    )
    recipe = {"views": 250_000, "batch_size": batch}
    unvaried = {"batch_size": 128} if variant.startswith("batch") else {}
    return changed_record(record, settings={"recipe": recipe, "unvaried_recipe": unvaried})


RUNS = [
    sweep_record("instdisc", "negatives=4096", 0.40, 0.30),
    sweep_record("instdisc", "negatives=256", 0.40, 0.40),
    sweep_record("instdisc", "negatives=1", 0.10, 0.38),
    sweep_record("simclr", "batch=16", 0.30, 0.40),
    sweep_record("simclr", "batch=64", 0.40, 0.20),
    changed_record(sweep_record("simclr", "batch=256", 0, 0), status="failed", error="out of memory", measurements=()),
]


def test_main_failures_by_hand() -> None:
    """The failure with the larger relative loss, if the loss exceeds both intervals; else neither."""
    import pandas as pd

    half = 0.02
    points = [(1, 0.10, 0.30), (2, 0.38, 0.40), (4, 0.40, 0.30), (8, 0.30, 0.20)]
    rows = [
        {"label": f"moco (negatives={n})", "method": "moco", "variant": f"negatives={n}", "tap": "conv5"}
        | {"metric": metric, "mean": value, "ci_half_width": half, "rank": 1.0, "tied_with_best": False}
        for n, many, few in points
        for metric, value in (
            ("homogeneity_k16", many),
            ("homogeneity_k2", 0.1),
            ("completeness_k16", 0.1),
            ("completeness_k2", few),
        )
    ]
    (sweep,) = iterate_sweeps(pd.DataFrame(rows))
    assert sweep.cluster_counts == [2, 16]
    assert main_failures(sweep) == {1: "under-clustering", 2: "neither", 4: "over-clustering", 8: "over-clustering"}


@pytest.mark.parametrize(
    ("spread", "seeds", "verdict"),
    [
        (0.001, 1, "one seed: not judged"),
        (0.001, 2, "two seeds: not judged"),
        (0.001, 3, "under-clustering at 1, neither at 256 and over-clustering at 4,096"),
        (0.1, 3, "neither at 1, 256 and 4,096"),
    ],
)
def test_a_verdict_needs_three_seeds_that_agree(tmp_path: Path, spread: float, seeds: int, verdict: str) -> None:
    """With fewer seeds there is no verdict; a difference within the interval over seeds counts as none."""
    points = {1: (0.30, 0.38), 256: (0.40, 0.38), 4096: (0.40, 0.30)}
    runs = []
    for seed in range(seeds):
        for n, (homogeneity, completeness) in points.items():
            shift = spread * (seed - 1)
            record = sweep_record("instdisc", f"negatives={n}", homogeneity + shift, completeness + shift)
            runs.append(changed_record(record, key=f"{n}-{seed}", cell={"seed": seed}))
    made = write_report(runs, folder=tmp_path, formats=("png",), protocols={"negatives": Negatives})
    assert f"instdisc {verdict}" in " ".join(made.text.split())


def test_negatives_of_a_batch_are_the_views_of_the_other_images() -> None:
    """A batch has two views of each other image; for a bank or queue the variant is the number."""
    assert [count_negatives("batch=2"), count_negatives("batch=64"), count_negatives("negatives=16")] == [2, 126, 16]
    assert [join_words(["a"]), join_words(["a", "b"]), join_words(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_the_printed_table(tmp_path: Path) -> None:
    """A part per method with published numbers, and one sentence on under- and over-clustering."""
    made = write_report(
        RUNS, folder=tmp_path, methods=["instdisc", "simclr"], formats=("md", "png"), protocols={"negatives": Negatives}
    )
    assert made.text == PRINTED
    assert [path.suffix for path in made.files] == [".md", ".png"]


def test_points_of_a_sweep_are_compared(tmp_path: Path) -> None:
    """Marks compare linear accuracies within a sweep; results without predictions are not marked."""
    truth = np.zeros(400, int)
    for (method, variant), wrong in {
        ("moco", "negatives=16"): slice(0, 40),
        ("moco", "negatives=256"): slice(2, 46),
        ("moco", "negatives=4096"): slice(0, 120),
        ("instdisc", "negatives=1"): slice(0, 200),
        ("instdisc", "negatives=256"): slice(0, 160),
    }.items():
        predictions = truth.copy()
        predictions[wrong] = 1
        right = float((predictions == truth).mean())
        record = sweep_record(method, variant, 0.4, 0.3)
        measurements = (
            replace(one, value=right, ci_low=right - 0.01, ci_high=right + 0.01) if one.metric == "accuracy" else one
            for one in record.measurements
        )
        record = changed_record(record, measurements=tuple(measurements))
        store.write(tmp_path, record, Predictions(truth, {"conv5": predictions}))
    (table,) = write_report(
        store.read_all(tmp_path)[0], folder=tmp_path, formats=(), protocols={"negatives": Negatives}
    ).tables
    assert table.custom is not None
    of_instdisc, of_moco = (part.set_index(part.columns[0]).fillna("") for part in table.custom.parts)
    assert of_moco.loc["linear accuracy"].tolist() == [
        TableCell("90.0 ± 1.0", "best"),
        TableCell("89.0 ± 1.0", "second best", tied_with_best=True),
        TableCell("70.0 ± 1.0"),
    ]
    assert of_instdisc.loc["linear accuracy", ["1", "256"]].tolist() == [
        TableCell("50.0 ± 1.0", "second best"),
        TableCell("60.0 ± 1.0", "best"),
    ]
    assert of_moco.loc["kNN accuracy"].tolist() == ["50.0 ± 1.0"] * 3


PRINTED = """\
negatives: accuracy (%) on shapes, convnet, small

instdisc, negatives              1    10          256    512        4,096
---------------------  -----------  ----  -----------  -----  -----------
linear accuracy        *50.0 ± 1.0     -  *50.0 ± 1.0      -  *50.0 ± 1.0
published, linear SVM         44.3  60.2            -   64.3         70.2
kNN accuracy            50.0 ± 1.0     -   50.0 ± 1.0      -   50.0 ± 1.0
published, kNN                42.5  63.4            -   78.4         80.4
homogeneity, k = 2       5.0 ± 1.0     -   20.0 ± 1.0      -   20.0 ± 1.0
homogeneity, k = 4       8.0 ± 1.0     -   32.0 ± 1.0      -   32.0 ± 1.0
homogeneity, k = 16     10.0 ± 1.0     -   40.0 ± 1.0      -   40.0 ± 1.0
completeness, k = 2     38.0 ± 1.0     -   40.0 ± 1.0      -   30.0 ± 1.0
completeness, k = 4     38.0 ± 1.0     -   40.0 ± 1.0      -   30.0 ± 1.0
completeness, k = 16    38.0 ± 1.0     -   40.0 ± 1.0      -   30.0 ± 1.0
V-measure, k = 2        25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
V-measure, k = 4        25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
V-measure, k = 16       25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
NMI, k = 2              25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
NMI, k = 4              25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
NMI, k = 16             25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
ARI, k = 2              25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
ARI, k = 4              25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
ARI, k = 16             25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
Hungarian, k = 2        25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
Hungarian, k = 4        25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
Hungarian, k = 16       25.0 ± 1.0     -   25.0 ± 1.0      -   25.0 ± 1.0
same class, all               10.0     -         10.0      -         10.0
same class, hardest           40.0     -         40.0      -         40.0
alignment                     0.30     -         0.30      -         0.30
uniformity                   -2.50     -        -2.50      -        -2.50
InfoNCE bound (nats)          0.60     -         0.60      -         0.60
log N (nats)                  0.69  2.40         5.55   6.24         8.32

simclr, negatives              30          126
--------------------  -----------  -----------
linear accuracy       *50.0 ± 1.0  *50.0 ± 1.0
kNN accuracy           50.0 ± 1.0   50.0 ± 1.0
homogeneity, k = 2     15.0 ± 1.0   20.0 ± 1.0
homogeneity, k = 4     24.0 ± 1.0   32.0 ± 1.0
homogeneity, k = 16    30.0 ± 1.0   40.0 ± 1.0
completeness, k = 2    40.0 ± 1.0   20.0 ± 1.0
completeness, k = 4    40.0 ± 1.0   20.0 ± 1.0
completeness, k = 16   40.0 ± 1.0   20.0 ± 1.0
V-measure, k = 2       25.0 ± 1.0   25.0 ± 1.0
V-measure, k = 4       25.0 ± 1.0   25.0 ± 1.0
V-measure, k = 16      25.0 ± 1.0   25.0 ± 1.0
NMI, k = 2             25.0 ± 1.0   25.0 ± 1.0
NMI, k = 4             25.0 ± 1.0   25.0 ± 1.0
NMI, k = 16            25.0 ± 1.0   25.0 ± 1.0
ARI, k = 2             25.0 ± 1.0   25.0 ± 1.0
ARI, k = 4             25.0 ± 1.0   25.0 ± 1.0
ARI, k = 16            25.0 ± 1.0   25.0 ± 1.0
Hungarian, k = 2       25.0 ± 1.0   25.0 ± 1.0
Hungarian, k = 4       25.0 ± 1.0   25.0 ± 1.0
Hungarian, k = 16      25.0 ± 1.0   25.0 ± 1.0
same class, all              10.0         10.0
same class, hardest          40.0         40.0
alignment                    0.30         0.30
uniformity                  -2.50        -2.50
InfoNCE bound (nats)         0.60         0.60
log N (nats)                 3.43         4.84

* best of the methods (supervised and random are not ranked)
one seed: ± covers test images only (half the 95 % Wilson interval)
what each number of negatives suffers from, by the larger loss from its sweep's best beyond the
  intervals over 3 seeds or more, of homogeneity with 16 clusters (under-clustering) or completeness
  with 2 (over-clustering): instdisc one seed: not judged; simclr one seed: not judged
shares in %; same class: false negatives, among all train images and among the hardest, the most
  similar ones; alignment and uniformity of two views' features; the bound from the method's own
  task at the end of pretraining; best and ≈ within a line
published numbers, never ranked with measured ones: CIFAR-10, ResNet-18, linear SVM at embedding;
  CIFAR-10, ResNet-18, nearest neighbour at embedding
published in InstDisc (Wu 2018), Table 1, https://arxiv.org/abs/1805.01978, second-hand (CTU Prague
  lecture slides reproducing InstDisc Table 1; the encoder is not named there)
data shapes, encoder convnet, preset small, budget 250,000 views, seed 0
failed: simclr (batch=256), seed 0: out of memory
settings: python run_bench.py report --card CELL

"""


def test_numbers_that_are_too_near_on_the_axis_are_written_lower() -> None:
    """Each number of negatives has its number and the word for its failure, below those of the number before it."""
    counts = [16, 256, 4096, 16384]
    assert tick_labels(counts, ["", "", "", ""]) == ["16", "256", "4,096", "\n16,384"]
    assert tick_labels(counts, ["under", "", "", "over"]) == ["16\nunder", "256", "4,096", "\n\n16,384\nover"]
