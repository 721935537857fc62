"""Few labels: three ways for each number of labels, with the same subsets for all methods, and an unchanged encoder."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from sslbench.bench.data import Dataset, DatasetInfo
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes.label_subset import subset_digest
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions, read_predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.published import published_frame
from sslbench.bench.report.render import write_report
from sslbench.bench.run import runner
from sslbench.bench.statistics import holm, mcnemar
from sslbench.bench.training.recipe import PRESETS
from sslbench.protocols import _probing
from sslbench.protocols._curve import readable_ticks
from sslbench.protocols.fewlabels import FewLabels
from tests.records.builders import accuracy_record, changed_record, failed_record

CPU = torch.device("cpu")
QUICK = {"views": 32, "batch": 16}


def encoder_of(seed: int) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(32, width=4)


def represent(encoder: ConvNet, dataset: Dataset, shared: dict | None = None) -> Representation:
    """A representation as the runner makes it; the untrained encoder is that of seed 0."""
    build = partial(encoder_of, 0)
    return Representation(encoder, dataset, "data", CPU, "fp32", build_encoder=build, shared_results=shared)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digest of the labelled subset of each training, in order."""
    digests: list[str] = []
    original = _probing.probes.fine_tune

    def fine_tune(build, images, rows, *rest, **settings):  # type: ignore[no-untyped-def]
        digests.append(subset_digest(rows))
        return original(build, images, rows, *rest, **settings)

    monkeypatch.setattr(_probing.probes, "fine_tune", fine_tune)
    return digests


def test_each_way_and_number_has_its_accuracy(tiny: Dataset) -> None:
    """Metric names contain way and labels per class; each has its interval, predictions and subset digest."""
    protocol = FewLabels(labels=(2, 4), shares=(0.01, 1.0), **QUICK)  # type: ignore[arg-type]
    numbers = list(protocol.evaluate(represent(encoder_of(1), tiny)))
    by_name = {number.metric: number for number in numbers}
    assert len(by_name) == len(numbers)
    names = ["1", "2", "4", "6.4"]
    ways = [
        f"{metric}_{way}_{name}" for name in names for way in protocol.ways for metric in ("accuracy", "macro_accuracy")
    ]
    assert by_name.keys() == {"accuracy", "macro_accuracy", *ways, *(f"share_{name}" for name in names)}
    assert [by_name[f"share_{name}"].value for name in names] == pytest.approx([10 / 64, 20 / 64, 40 / 64, 1])
    assert by_name["accuracy"].value == by_name["accuracy_frozen_1"].value
    hashes = {name: {by_name[f"accuracy_{way}_{name}"].details["indices"] for way in protocol.ways} for name in names}  # type: ignore[index]
    assert all(len(found) == 1 for found in hashes.values())
    assert len(set.union(*hashes.values())) == 4
    for way in ways:
        number = by_name[way]
        assert number.ci_low is not None
        assert number.ci_high is not None
        assert number.ci_low <= number.value <= number.ci_high
        if not way.startswith("macro"):
            assert number.predictions.shape == (20,)  # type: ignore[union-attr]


def test_the_encoder_does_not_change(tiny: Dataset) -> None:
    """Fine-tuning changes neither weights, nor batch statistics, nor the mode of the shared encoder."""
    encoder = encoder_of(1)
    representation = represent(encoder, tiny)
    before = copy.deepcopy(encoder.state_dict())
    list(FewLabels(shares=(1.0,), ways=("tuned", "scratch"), **QUICK).evaluate(representation))  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_training_from_scratch_is_shared_within_a_run(tiny: Dataset, trainings: list[str]) -> None:
    """It does not depend on pretrained weights, so methods share it; fine-tuning an untrained encoder is the same."""
    protocol = FewLabels(shares=(1.0,), ways=("tuned", "scratch"), **QUICK)  # type: ignore[arg-type]
    shared: dict = {}
    one, other, untrained = (
        {n.metric: n.value for n in protocol.evaluate(represent(encoder_of(seed), tiny, shared))} for seed in (1, 2, 0)
    )
    assert len(trainings) == 3
    assert one["accuracy_scratch_6.4"] == other["accuracy_scratch_6.4"] == untrained["accuracy_tuned_6.4"]
    list(protocol.evaluate(represent(encoder_of(1), tiny)))
    assert len(trainings) == 5, "another run trains again"


def test_all_encoders_use_the_same_subsets(tiny: Dataset, trainings: list[str]) -> None:
    """The subset depends only on the labels and its seed."""
    for seed, width in ((1, 4), (2, 8)):
        torch.manual_seed(seed)
        protocol = FewLabels(labels=(2, 3), shares=(), ways=("tuned",), **QUICK)  # type: ignore[arg-type]
        list(protocol.evaluate(represent(ConvNet(32, width=width), tiny)))
    assert trainings[:2] == trainings[2:]
    assert len(set(trainings)) == 2


def test_frozen_with_sgd(tiny: Dataset) -> None:
    """With solver = sgd the frozen way trains on views of the same images."""
    protocol = FewLabels(shares=(1.0,), ways=("frozen",), solver="sgd", epochs=1)
    (number,) = [n for n in protocol.evaluate(represent(encoder_of(1), tiny)) if n.metric == "accuracy"]
    assert number.details == {"labelled": 64, "indices": subset_digest(torch.arange(64))}


def dataset_info(train: int = 10_000, per_class: int | None = 1000) -> DatasetInfo:
    classes = tuple("abcdefghij")
    return DatasetInfo(
        name="toys",
        identity="0",
        image_size=32,
        classes=classes,
        train_images=train,
        test_images=9,
        per_class=per_class,
    )


def test_default_numbers_that_do_not_fit_are_left_out() -> None:
    """The default of 5000 labels per class is left out where there are 1000; a set number is refused with a remedy."""
    FewLabels().check(dataset_info())
    labels = torch.arange(10_000) % 10
    assert [len(rows) for rows in FewLabels().labelled_subsets(labels)] == [100, 200, 1000, 4000, 10_000]
    with pytest.raises(UserError, match=r"labels = 2000: a class of toys has only 1000 .*labels=20,100 fits") as error:
        FewLabels(labels=(20, 100, 2000)).check(dataset_info())
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"has only 15 train images; --set fewlabels\.labels=15 fits"):
        FewLabels(labels=(20,)).check(dataset_info(per_class=15))
    with pytest.raises(UserError, match="has only 1000"):
        FewLabels(labels=(1001,)).check(dataset_info(per_class=None))
    with pytest.raises(UserError, match="class 3 has only 1 train images"):
        FewLabels(labels=(2,)).labelled_subsets(torch.tensor([0, 0, 3, 1, 1]))


CARD = {"taps": ["conv5"], "views": 5000, "train_images": 10_000}


def curve(method: str, seed: int, tuned: tuple[float, ...], scratch: tuple[float, ...], **of: Any) -> Record:
    """A record with two numbers of labels per class, 10 (1 %) and 20."""
    values = {"frozen": (0.6, 0.7), "tuned": tuned, "scratch": scratch}
    measurements = [Measurement(tap="conv5", metric="accuracy", unit="fraction", value=0.6, ci_low=0.59, ci_high=0.61)]
    for place, (n, share) in enumerate([(10, 0.01), (20, 0.02)]):
        measurements.append(Measurement(tap="conv5", metric=f"share_{n}", unit="fraction", value=share))
        for way, found in values.items():
            low, high = found[place] - 0.02, found[place] + 0.02
            name = f"accuracy_{way}_{n}"
            measurements.append(
                Measurement(tap="conv5", metric=name, unit="fraction", value=found[place], ci_low=low, ci_high=high)
            )
    of |= {"card": CARD, "cell": {"protocol": "fewlabels"}, "measurements": tuple(measurements)}
    return accuracy_record(method, seed, 0, 0, **of)


RUNS = [
    curve("rotnet", 0, (0.65, 0.8), (0.3, 0.7)),
    curve("jigsaw", 0, (0.5, 0.75), (0.3, 0.7)),
    curve("random", 0, (0.3, 0.7), (0.3, 0.7), kind="untrained"),
]


def test_the_table_shows_the_curve(tmp_path: Path) -> None:
    """A row per way and method, from scratch once; then the published numbers, and what pretraining gains."""
    made = write_report(
        RUNS, folder=tmp_path, methods=["rotnet", "jigsaw"], formats=("md",), protocols={"fewlabels": FewLabels}
    )
    assert PRINTED in made.text
    markdown = " ".join(made.files[0].read_text().split())
    assert "| way | method | 10 (1%) | 20 |" in markdown
    assert (
        "rotnet at conv5, fine-tuned compared to from scratch: +35.0 points with 10 labels per class, +10.0" in markdown
    )
    assert "random at conv5" not in markdown
    assert "starved" not in markdown
    assert "Qi & Luo survey 2020, Table 1" in markdown


def test_methods_and_ways_are_compared_with_as_many_labels(tmp_path: Path) -> None:
    """A column marks the best of all methods and ways, and those tied with it: from scratch once, no floor."""
    truth = np.zeros(400, int)
    wrong = {
        "frozen": {"rotnet": ((0, 100), (0, 80)), "jigsaw": ((2, 106), (0, 160)), "random": ((0, 98), (0, 79))},
        "tuned": {"rotnet": ((0, 140), (0, 60)), "jigsaw": ((0, 112), (3, 64)), "random": ((1, 104), (1, 69))},
        "scratch": dict.fromkeys(("rotnet", "jigsaw", "random"), ((1, 104), (1, 69))),
    }
    right: dict[tuple[str, str, int], np.ndarray] = {}
    for method in ("random", "rotnet", "jigsaw"):
        record = curve(method, 0, (0, 0), (0, 0), kind="untrained" if method == "random" else "bundled")
        kept, values = {"conv5": truth}, {}
        for way, spans in wrong.items():
            for n, (begin, end) in zip((10, 20), spans[method], strict=True):
                predictions = truth.copy()
                predictions[begin:end] = 1
                kept[f"conv5 accuracy_{way}_{n}"] = predictions
                right[method, way, n] = predictions == truth
                value = float(right[method, way, n].mean())
                values[f"accuracy_{way}_{n}"] = {"value": value, "ci_low": 0.5, "ci_high": 0.54}
        measurements = (replace(one, **values.get(one.metric, {})) for one in record.measurements)
        record = changed_record(record, measurements=tuple(measurements))
        store.write(tmp_path, record, Predictions(truth, kept))
    made = write_report(
        store.read_all(tmp_path)[0], folder=tmp_path, formats=("md",), protocols={"fewlabels": FewLabels}
    )
    assert MARKED in made.files[0].read_text()
    (table,) = made.tables
    assert table.custom is not None
    tied = table.custom.measured.set_index(["metric", "label"])["tied_with_best"]
    for n in (10, 20):
        rows = {key: found for key, found in right.items() if key[2] == n and key[0] != "random"}
        del rows["rotnet", "scratch", n]
        best = max(rows, key=lambda key: rows[key].mean())
        chances = {key: mcnemar(rows[best], found) for key, found in rows.items() if key != best}
        for (method, way, _), chance in zip(chances, holm(list(chances.values())), strict=True):
            assert tied[f"accuracy_{way}_{n}", method] == (chance >= 0.05)
        assert not tied.xs("random", level="label").any()


MARKED = """\
| way          |         method |        10 (1%) |             20 |
|:-------------|---------------:|---------------:|---------------:|
| frozen       |         jigsaw |    ≈74.0 ± 2.0 |     60.0 ± 2.0 |
| frozen       | random (floor) |     75.5 ± 2.0 |     80.3 ± 2.0 |
| frozen       |         rotnet | **75.0 ± 2.0** |     80.0 ± 2.0 |
| fine-tuned   |         jigsaw |     72.0 ± 2.0 |  *≈84.8 ± 2.0* |
| fine-tuned   | random (floor) |     74.3 ± 2.0 |     83.0 ± 2.0 |
| fine-tuned   |         rotnet |     65.0 ± 2.0 | **85.0 ± 2.0** |
| from scratch |            any |  *≈74.3 ± 2.0* |     83.0 ± 2.0 |
"""


@pytest.mark.parametrize(("views", "numbers"), [(999, "10 and 20"), (1000, "20"), (1999, "20"), (2000, "")])
def test_a_starved_training_is_marked(tmp_path: Path, views: int, numbers: str) -> None:
    """Where a training saw its labelled images fewer than ten times, its cells have a mark and a note explains it."""
    runs = [changed_record(run, card=CARD | {"views": views}) for run in RUNS]
    text = " ".join(write_report(runs, folder=tmp_path, formats=(), protocols={"fewlabels": FewLabels}).text.split())
    assert (f"starved. fine-tuned and from scratch with {numbers} labels per class: {views:,} views" in text) == bool(
        numbers
    )
    assert ("starved" in text) == bool(numbers)
    assert ("80.0 ± 2.0 †" in text, "65.0 ± 2.0 †" in text) == ("20" in numbers, "10" in numbers)
    assert "70.0 ± 2.0 70.0" not in text
    assert ("points with 20 labels" in text, "points with 10 labels" in text) == (
        "20" not in numbers,
        "10" not in numbers,
    )
    assert "60.0 ± 2.0 †" not in text, "frozen trains no network"


def test_starved_points_are_hollow_and_not_joined() -> None:
    """A line joins only the points whose trainings had enough views."""
    shares = {20: 0.002, 100: 0.01, 5000: 0.5}
    rows = [
        {"label": "rotnet", "method": "rotnet", "role": "", "tap": "conv5", "metric": name, "mean": value}
        | {"ci_half_width": 0.02}
        for n, share in shares.items()
        for name, value in (*((f"accuracy_{way}_{n}", 0.5) for way in ("frozen", "tuned")), (f"share_{n}", share))
    ]
    measured = pd.DataFrame(rows)
    measured.attrs["card"] = {"views": 20_000, "train_images": 10_000}
    figure = Figure()
    FewLabels.plot(measured, published_frame("fewlabels").iloc[:0], figure)
    frozen, tuned = ([(line.get_linestyle(), len(line.get_xdata())) for line in axes.lines] for axes in figure.axes)
    assert frozen == [("-", 3)]
    assert tuned == [("None", 1), ("-", 2)]


def test_tick_labels_do_not_overlap() -> None:
    """Of two ticks that are too close the larger one is dropped."""
    assert readable_ticks([20, 50, 100, 400, 500, 1000, 5000]) == [20, 50, 100, 400, 1000, 5000]
    assert readable_ticks([20, 21, 22, 5000]) == [20, 5000]
    assert readable_ticks([20]) == [20]


def test_a_failed_method_and_differing_scratches_are_shown(tmp_path: Path) -> None:
    """Methods with another input have another result from scratch and are named; failures are shown as failed."""
    lost = failed_record("simclr", 0, "no memory", card=CARD, cell={"protocol": "fewlabels"})
    other = curve("split_brain", 0, (0.4, 0.6), (0.2, 0.6))
    text = " ".join(
        write_report(
            [*RUNS, other, lost], folder=tmp_path, formats=("md", "png"), protocols={"fewlabels": FewLabels}
        ).text.split()
    )
    assert "from scratch split_brain 20.0 ± 2.0 60.0 ± 2.0" in text
    assert "from scratch jigsaw 30.0 ± 2.0 70.0 ± 2.0" in text
    assert "fine-tuned simclr failed failed" in text
    assert "simclr at conv5" not in text


def test_the_figure_shows_the_curve() -> None:
    """A panel per way, a line per method in percent, from scratch in both panels, labels on a log axis."""
    rows = [
        {
            "label": m,
            "method": m,
            "role": "",
            "tap": "conv5",
            "metric": f"accuracy_{w}_{n}",
            "mean": v,
            "ci_half_width": 0.02,
        }
        for m in ("rotnet", "moco")
        for w in ("frozen", "tuned", "scratch")
        for n, v in ((1000, 0.9), (20, 0.5))
    ]
    figure = Figure(layout="constrained")
    FewLabels.plot(pd.DataFrame(rows), published_frame("fewlabels"), figure)
    assert [axes.get_title() for axes in figure.axes] == ["frozen", "fine-tuned", "published: CIFAR-10, NIN"]
    *panels, known = figure.axes
    for axes in panels:
        assert axes.get_xscale() == "log"
        lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
        assert [line.get_label() for line in lines] == ["rotnet", "moco", "from scratch"]
        for line in lines:
            assert list(line.get_xdata()) == [20, 1000]
            assert list(line.get_ydata()) == pytest.approx([50, 90])
        assert not [line for line in axes.lines if len(line.get_xdata()) > 2], "published numbers have their own panel"
    names = ["Supervised conv, from scratch", "Supervised non-linear, from scratch"]
    assert [line.get_label() for line in known.lines] == [*names, "RotNet + conv, convolutional classifier"]
    assert [list(line.get_xdata()) for line in known.lines] == [[20, 100, 400, 1000, 5000]] * 3
    assert known.lines[0].get_ydata()[0] == pytest.approx(33.66)
    assert known.lines[2].get_color() == panels[0].lines[0].get_color(), "rotnet has one colour"


def test_every_method_has_its_own_line_style() -> None:
    """Beyond ten methods colours repeat with another marker; published numbers are not required."""
    rows = [
        {
            "label": f"m{n}",
            "method": f"m{n}",
            "role": "",
            "tap": "conv5",
            "metric": "accuracy_frozen_20",
            "mean": 0.5,
            "ci_half_width": 0.02,
        }
        for n in range(25)
    ]
    figure = Figure(layout="constrained")
    FewLabels.plot(pd.DataFrame(rows), published_frame("fewlabels").iloc[:0], figure)
    assert len({(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}) == 25


PRINTED = """\
fewlabels: accuracy (%) on shapes, convnet, small

way                   method      10 (1%)           20
------------  --------------  -----------  -----------
frozen                jigsaw   60.0 ± 2.0   70.0 ± 2.0
frozen        random (floor)   60.0 ± 2.0   70.0 ± 2.0
frozen                rotnet   60.0 ± 2.0   70.0 ± 2.0
fine-tuned            jigsaw   50.0 ± 2.0   75.0 ± 2.0
fine-tuned    random (floor)   30.0 ± 2.0   70.0 ± 2.0
fine-tuned            rotnet  *65.0 ± 2.0  *80.0 ± 2.0
from scratch             any   30.0 ± 2.0   70.0 ± 2.0

published                                                    20    100    400    1000    5000    1%    10%
---------------------------------------------------------  ----  -----  -----  ------  ------  ----  -----
Supervised conv, CIFAR-10, NIN, from scratch               33.7   47.3   74.2    83.5    93.1     -      -
Supervised non-linear, CIFAR-10, NIN, from scratch         35.0   48.9   72.8    83.9    92.1     -      -
RotNet + conv, CIFAR-10, NIN, convolutional classifier     64.6   75.3   82.8    86.4    92.0     -      -
Supervised baseline, ImageNet-1k, ResNet-50, from scratch     -      -      -       -       -  25.4   56.4

"""


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": (0,)},
        {"labels": (), "shares": ()},
        {"shares": (1.5,)},
        {"ways": ()},
        {"views": 0},
        {"batch": 1},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"draw": -1},
        {"draw": 10**20},
        {"ways": ("frozen", "frozen")},
        {"taps": ("conv5", "conv5")},
        {"epochs": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    """The message names the setting."""
    with pytest.raises(UserError, match=f"fewlabels.{next(iter(wrong))}"):
        FewLabels(**wrong)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_training_has_the_budget_of_the_supervised_ceiling(preset: str) -> None:
    """The number of views is at least that of the preset's pretraining, unless it is set."""
    request = Request(methods=("random",), protocols=("fewlabels",), preset=preset)
    (cell,) = build_plan(request).jobs[0].cells
    assert cell.settings["views"] >= PRESETS[preset]["views"]
    (cell,) = build_plan(Request(**vars(request) | {"assignments": ("fewlabels.views=99",)})).jobs[0].cells
    assert cell.settings["views"] == 99


def test_a_record_has_all_results(tmp_path: Path) -> None:
    """A record has every result with the digest of its subset, and the predictions of each."""
    assignments = (
        "synthetic.train=40",
        "synthetic.test=20",
        "fewlabels.views=32",
        "fewlabels.labels=2",
        "convnet.width=4",
    )
    request = Request(
        methods=("random",), protocols=("fewlabels",), preset="smoke", assignments=assignments, results=tmp_path
    )
    *_, measured = (
        event for event in runner.measure_missing(build_plan(request)) if isinstance(event, runner.Measured)
    )
    assert not measured.record.failed, measured.record.error
    found = {one.metric: one for one in store.read(measured.path).measurements}
    assert found["accuracy_tuned_2"].value == found["accuracy_scratch_2"].value, "untrained is from scratch"
    assert found["accuracy_tuned_2"].details["indices"] == found["accuracy_frozen_2"].details["indices"]
    predictions = read_predictions(store.read(measured.path))
    assert predictions
    assert {"conv5", "conv5 accuracy_tuned_2", "conv5 accuracy_scratch_4"} <= predictions.by_name.keys()
