"""Geometry: worked values, the interval of the rank, and how the similarity of methods is shown."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import sslbench
from sslbench import evenly_spaced, probes
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import collect_predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.render import Report, write_report
from sslbench.protocols._similarity import cka_matrix
from sslbench.protocols.geometry import (
    Geometry,
    principal_components,
    rank_error,
    share_of_dead_features,
    spread,
)
from tests.protocols.builders import representation_of
from tests.records.builders import accuracy_record

GENERATOR = torch.Generator().manual_seed(0)


def test_dead_features_never_vary() -> None:
    """Two of four columns have the same value for all images; one of these values is not 0."""
    features = torch.tensor([[1.0, 0.0, 7.0, 2.0], [3.0, 0.0, 7.0, 2.0], [1.0, 0.0, 7.0, 4.0]])
    assert share_of_dead_features(features) == 0.5


def test_spread_is_0_if_all_are_equal_and_near_1_on_the_sphere() -> None:
    """Length does not matter: multiples of one vector have no spread."""
    assert spread(torch.tensor([[1.0, 2.0], [2.0, 4.0]])) == pytest.approx(0, abs=1e-7)
    assert spread(torch.tensor([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(1)
    assert spread(torch.randn(500, 20, generator=GENERATOR)) == pytest.approx(1, abs=0.02)


def test_the_error_of_the_rank_is_what_other_images_would_change() -> None:
    """The jackknife agrees with the standard deviation over new samples of 200 images within a factor of 2."""
    scales = torch.linspace(0.2, 2, 10)
    samples = [scales * torch.randn(200, 10, generator=GENERATOR) for _ in range(40)]
    ranks = [probes.effective_rank(sample) for sample in samples]
    found = np.mean([rank_error(sample) for sample in samples[:10]])
    assert np.std(ranks) / 2 < found < 2 * np.std(ranks)


def test_equal_features_have_rank_1_and_no_decay() -> None:
    """Where nothing varies, what cannot be computed is left out; everything else is measured."""
    labels = torch.arange(40) % 4
    representation = representation_of(torch.ones(40, 3), labels, torch.ones(40, 3), labels)
    found = {one.metric: one.value for one in Geometry(taps=("conv5",)).evaluate(representation)}
    assert found["effective_rank"] == pytest.approx(1, abs=1e-4)
    assert found["dead_features"] == 1
    assert found["uniformity"] == pytest.approx(0, abs=1e-6)
    assert "spectrum_decay" not in found


def test_cka_of_all_pairs_is_that_of_each_pair() -> None:
    """Three sets of features, of two widths, of the same 50 images; float16 as they are stored."""
    sets = [torch.randn(50, width, generator=GENERATOR) for width in (5, 3, 5)]
    sets[2] = sets[0] + 0.5 * sets[2]
    sets = [features - features.mean(0) for features in sets]
    found = cka_matrix([features.numpy() for features in sets])
    for row, first in enumerate(sets):
        for column, second in enumerate(sets):
            assert found[row, column] == pytest.approx(probes.linear_cka(first, second), abs=1e-5)
    stored = cka_matrix([principal_components(features) for features in sets])
    np.testing.assert_allclose(stored, found, atol=1e-3)


@pytest.mark.slow
def test_sketches_of_bundled_encoders_are_precise() -> None:
    """The CKA of 32 components of 1,000 test images differs by less than 0.01 from that of all features."""
    test = Synthetic().load(frozenset()).test
    images = test.images[evenly_spaced(len(test), 1000)]
    methods = ("random", "clip", "context_encoder", "supervised", "video_colorization")
    features = [sslbench.features(sslbench.encoder(method), images) for method in methods]
    stored = cka_matrix([principal_components(of_method) for of_method in features])
    for row, first in enumerate(features):
        for column, second in enumerate(features):
            assert stored[row, column] == pytest.approx(probes.linear_cka(first, second), abs=0.01)


def sketched_record(folder: Path, method: str, features: torch.Tensor) -> Record:
    """A record, read from its file, of an effective rank that carries a sketch of features."""
    arrays = {"sketch": principal_components(features)}
    measurements = [
        Measurement(tap=tap, metric=metric, value=value, arrays=arrays if metric == "effective_rank" else {})
        for tap, value in (("conv4", 2.0), ("conv5", 3.0))
        for metric in ("effective_rank", "spectrum_decay")
    ]
    stored = tuple(replace(one, arrays={}) for one in measurements)
    record = accuracy_record(method, 0, 0, 0, measurements=stored, cell={"protocol": "geometry"})
    path = store.write(folder, record, collect_predictions(measurements, np.arange(len(features))))
    return store.read(path)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Four methods: the features of the first and the third are nearly the same, and those of the others."""
    folder = tmp_path_factory.mktemp("records")
    one, other = (torch.randn(60, 4, generator=GENERATOR) for _ in range(2))
    noise = [0.1 * torch.randn(60, 4, generator=GENERATOR) for _ in range(2)]
    features = {"rotnet": one, "moco": other, "jigsaw": one + noise[0], "byol": other + noise[1]}
    return [sketched_record(folder, method, of_method) for method, of_method in features.items()]


def geometry_report(records: list[Record], folder: Path) -> Report:
    """The report of records of this protocol."""
    return write_report(
        records, folder=folder, headlines={"geometry": "effective_rank"}, protocols={"geometry": Geometry}, formats=()
    )


def test_similar_methods_are_neighbours(records: list[Record], tmp_path: Path) -> None:
    """The table names the most similar method of each, and the heat map's labels put both pairs together."""
    report = geometry_report(records, tmp_path)
    lines = [line.split() for line in report.text.split("\n\n")[3].splitlines()[3:]]
    assert {line[0]: line[1] for line in lines} == {
        "rotnet": "jigsaw",
        "jigsaw": "rotnet",
        "moco": "byol",
        "byol": "moco",
    }
    figure = Figure()
    (table,) = report.tables
    assert table.custom is not None
    Geometry.plot(table.custom.measured, table.custom.published, figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {frozenset(labels[:2]), frozenset(labels[2:])} == {
        frozenset({"rotnet", "jigsaw"}),
        frozenset({"moco", "byol"}),
    }


def test_the_decay_of_the_spectrum_is_not_ranked(records: list[Record], tmp_path: Path) -> None:
    """It has no direction; the rank has marks at every tap."""
    (table,) = geometry_report(records, tmp_path).tables
    assert table.custom is not None
    ranked = table.custom.measured.groupby("metric")["rank"].count()
    assert ranked.to_dict() == {"effective_rank": 8, "spectrum_decay": 0}


def test_a_damaged_sketch_is_left_out_and_named(records: list[Record], tmp_path: Path) -> None:
    """The others are still compared. The rank is in the record, so the method keeps its row."""
    for record in records:
        path = record.path_of(record.predictions)
        assert path is not None
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 50 if record.cell.method == "moco" else None])
    text = geometry_report([replace(record, folder=tmp_path) for record in records], tmp_path / "report").text
    assert "left out of the comparison of features, moco:" in text
    assert "run the cell again" in " ".join(text.split())
    ranks, nearest = text.split("\n\n")[2:4]
    assert "moco" in ranks
    assert "moco" not in nearest
    assert "rotnet" in nearest


def test_one_method_has_no_similarity(records: list[Record], tmp_path: Path) -> None:
    """There is no second table, and the figure is the usual one."""
    (table,) = geometry_report(records[:1], tmp_path).tables
    assert table.custom is not None
    assert len(table.custom.parts) == 1
    figure = Figure()
    Geometry.plot(table.custom.measured, table.custom.published, figure)
    assert not figure.axes


def test_measurements_of_the_protocol() -> None:
    """Directions of unequal length: the rank is below their number, and its interval contains it."""
    labels = torch.arange(100) % 4
    features = torch.randn(100, 3, generator=GENERATOR) * torch.tensor([1.0, 1.0, 0.01])
    found = {
        one.metric: one
        for one in Geometry(taps=("conv5",)).evaluate(representation_of(features, labels, features, labels))
    }
    rank = found["effective_rank"]
    assert 2 < rank.value < 2.2
    assert rank.ci_low is not None
    assert rank.ci_high is not None
    assert rank.ci_low < rank.value < rank.ci_high
    assert rank.arrays["sketch"].shape == (100, 3)
    assert rank.arrays["sketch"].dtype == np.float16
    assert found["spread"].value == pytest.approx(spread(features))
    assert math.isfinite(found["alignment"].value)
