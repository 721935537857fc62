"""Few labels: three ways at each number of labels, on splits that are the same for all, and no encoder is touched."""

from __future__ import annotations

import copy
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
from sslbench.bench.records import record as records
from sslbench.bench.report.published import published
from sslbench.bench.report.render import report
from sslbench.bench.run import runner
from sslbench.bench.statistics import holm, mcnemar
from sslbench.protocols import _probing
from sslbench.protocols._curve import legible
from sslbench.protocols.fewlabels import FewLabels
from tests.test_report import cell, failed

CPU = torch.device("cpu")
QUICK = {"views": 32, "batch": 16}


def encoder_of(seed: int) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(32, width=4)


def seen(encoder: ConvNet, dataset: Dataset, shared: dict | None = None) -> Representation:
    """As the runner makes it: an untrained encoder is that of seed 0."""
    build = partial(encoder_of, 0)
    return Representation(encoder, dataset, "data", CPU, "fp32", build_encoder=build, shared_results=shared)


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the index hash of each training."""
    found: list[str] = []
    real = _probing.probes.fine_tune

    def taught(build, images, rows, *rest, **settings):  # type: ignore[no-untyped-def]
        found.append(subset_digest(rows))
        return real(build, images, rows, *rest, **settings)

    monkeypatch.setattr(_probing.probes, "taught", taught)
    return found


def test_each_way_and_number_has_its_accuracy(tiny: Dataset) -> None:
    """Names say metric, way and labels a class; each number carries its interval, predictions and index hash."""
    asked = FewLabels(labels=(2, 4), shares=(0.01, 1.0), **QUICK)  # type: ignore[arg-type]
    numbers = list(asked.evaluate(seen(encoder_of(1), tiny)))
    by_name = {number.metric: number for number in numbers}
    assert len(by_name) == len(numbers)
    names = ["1", "2", "4", "6.4"]
    ways = [
        f"{metric}_{way}_{name}" for name in names for way in asked.ways for metric in ("accuracy", "macro_accuracy")
    ]
    assert by_name.keys() == {"accuracy", "macro_accuracy", *ways, *(f"share_{name}" for name in names)}
    assert [by_name[f"share_{name}"].value for name in names] == pytest.approx([10 / 64, 20 / 64, 40 / 64, 1])
    assert by_name["accuracy"].value == by_name["accuracy_frozen_1"].value
    hashes = {name: {by_name[f"accuracy_{way}_{name}"].details["indices"] for way in asked.ways} for name in names}  # type: ignore[index]
    assert all(len(found) == 1 for found in hashes.values())
    assert len(set.union(*hashes.values())) == 4
    for way in ways:
        number = by_name[way]
        assert number.low is not None
        assert number.high is not None
        assert number.low <= number.value <= number.high
        if not way.startswith("macro"):
            assert number.predictions.shape == (20,)  # type: ignore[union-attr]


def test_no_encoder_is_touched(tiny: Dataset) -> None:
    """Fine-tuning leaves weights, batch statistics and mode of the encoder that others read as they were."""
    encoder = encoder_of(1)
    representation = seen(encoder, tiny)
    before = copy.deepcopy(encoder.state_dict())
    list(FewLabels(shares=(1.0,), ways=("tuned", "scratch"), **QUICK).evaluate(representation))  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_from_scratch_is_learnt_once_a_run(tiny: Dataset, lessons: list[str]) -> None:
    """It knows nothing of pretrained weights, so methods share it; an untrained method's fine-tuning is the same."""
    asked = FewLabels(shares=(1.0,), ways=("tuned", "scratch"), **QUICK)  # type: ignore[arg-type]
    shared: dict = {}
    one, other, untrained = (
        {n.metric: n.value for n in asked.evaluate(seen(encoder_of(seed), tiny, shared))} for seed in (1, 2, 0)
    )
    assert len(lessons) == 3
    assert one["accuracy_scratch_6.4"] == other["accuracy_scratch_6.4"] == untrained["accuracy_tuned_6.4"]
    list(asked.evaluate(seen(encoder_of(1), tiny)))
    assert len(lessons) == 5, "another run learns anew"


def test_all_ways_and_encoders_see_the_same_images(tiny: Dataset, lessons: list[str]) -> None:
    """The draw depends on the labels and its own seed alone."""
    for seed, width in ((1, 4), (2, 8)):
        torch.manual_seed(seed)
        asked = FewLabels(labels=(2, 3), shares=(), ways=("tuned",), **QUICK)  # type: ignore[arg-type]
        list(asked.evaluate(seen(ConvNet(32, width=width), tiny)))
    assert lessons[:2] == lessons[2:]
    assert len(set(lessons)) == 2


def test_frozen_by_the_papers_long_way(tiny: Dataset) -> None:
    """With solver = sgd the frozen way is taught through views, by the same images."""
    asked = FewLabels(shares=(1.0,), ways=("frozen",), solver="sgd", epochs=1)
    (number,) = [n for n in asked.evaluate(seen(encoder_of(1), tiny)) if n.metric == "accuracy"]
    assert number.details == {"labelled": 64, "indices": subset_digest(torch.arange(64))}


def facts(train: int = 10_000, per_class: int | None = 1000) -> DatasetInfo:
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


def test_the_usual_numbers_are_those_that_fit() -> None:
    """Unasked, 5000 a class is left out where there are 1000; asked for, it is refused with what would fit."""
    FewLabels().check(facts())
    labels = torch.arange(10_000) % 10
    assert [len(rows) for rows in FewLabels().drawn(labels)] == [100, 200, 1000, 4000, 10_000]
    with pytest.raises(UserError, match=r"labels = 2000: a class of toys has only 1000 .*labels=20,100 fits") as told:
        FewLabels(labels=(20, 100, 2000)).check(facts())
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=r"has only 15 train images; --set fewlabels\.labels=15 fits"):
        FewLabels(labels=(20,)).check(facts(per_class=15))
    with pytest.raises(UserError, match="has only 1000"):
        FewLabels(labels=(1001,)).check(facts(per_class=None))
    with pytest.raises(UserError, match="class 3 has only 1 train images"):
        FewLabels(labels=(2,)).drawn(torch.tensor([0, 0, 3, 1, 1]))


CARD = {"taps": ["conv5"], "views": 150, "train_images": 10_000}


def curve(method: str, seed: int, tuned: tuple[float, ...], scratch: tuple[float, ...], **of: Any) -> dict[str, Any]:
    """A record of two numbers of labels, 10 (1 %) and 20."""
    values = {"frozen": (0.6, 0.7), "tuned": tuned, "scratch": scratch}
    metrics = [{"tap": "conv5", "metric": "accuracy", "value": 0.6, "low": 0.59, "high": 0.61}]
    for place, (n, share) in enumerate([(10, 0.01), (20, 0.02)]):
        metrics.append({"tap": "conv5", "metric": f"share_{n}", "value": share, "low": None, "high": None})
        for way, found in values.items():
            low, high = found[place] - 0.02, found[place] + 0.02
            name = f"accuracy_{way}_{n}"
            metrics.append({"tap": "conv5", "metric": name, "value": found[place], "low": low, "high": high})
    record = cell(method, seed, 0, 0, metrics=metrics, card=CARD, **of)
    record["cell"]["protocol"] = "fewlabels"
    return record


RUNS = [
    curve("rotnet", 0, (0.65, 0.8), (0.3, 0.7)),
    curve("jigsaw", 0, (0.5, 0.75), (0.3, 0.7)),
    curve("random", 0, (0.3, 0.7), (0.3, 0.7), kind="untrained"),
]


def test_the_table_shows_the_curve(tmp_path: Path) -> None:
    """Ways and methods by labels a class, from scratch once; then what was published, and what pretraining is worth."""
    made = report(
        RUNS, folder=tmp_path, methods=["rotnet", "jigsaw"], formats=("md",), protocols={"fewlabels": FewLabels}
    )
    assert PRINTED in made.text
    markdown = " ".join(made.files[0].read_text().split())
    assert "| way | method | 10 (1%) | 20 |" in markdown
    assert "rotnet at conv5, fine-tuned beside from scratch: +35.0 points with 10 labels a class, +10.0" in markdown
    assert "random at conv5" not in markdown
    assert (
        "- fine-tuned and from scratch: with 20 labels a class a training saw only about 150 of the 200 labelled "
        "images; frozen was taught by all of them, and may be ahead for that alone -" in markdown
    )
    assert "Qi & Luo survey 2020, Table 1" in markdown


def test_methods_and_ways_are_compared_with_as_many_labels(tmp_path: Path) -> None:
    """In a column the best of all methods and ways, and what no test tells from it: from scratch once, no floor."""
    truth = np.zeros(400, int)
    wrong = {
        "frozen": {"rotnet": ((0, 100), (0, 80)), "jigsaw": ((2, 106), (0, 160)), "random": ((0, 98), (0, 79))},
        "tuned": {"rotnet": ((0, 140), (0, 60)), "jigsaw": ((0, 112), (3, 64)), "random": ((1, 104), (1, 69))},
        "scratch": dict.fromkeys(("rotnet", "jigsaw", "random"), ((1, 104), (1, 69))),
    }
    right: dict[tuple[str, str, int], np.ndarray] = {}
    for method in ("random", "rotnet", "jigsaw"):
        record = curve(method, 0, (0, 0), (0, 0), kind="untrained" if method == "random" else "bundled")
        kept = {"conv5": truth, "labels": truth}
        for way, spans in wrong.items():
            for n, (begin, end) in zip((10, 20), spans[method], strict=True):
                predictions = truth.copy()
                predictions[begin:end] = 1
                kept[f"conv5 accuracy_{way}_{n}"] = predictions
                right[method, way, n] = predictions == truth
                (number,) = (m for m in record["metrics"] if m["metric"] == f"accuracy_{way}_{n}")
                number |= {"value": right[method, way, n].mean(), "low": 0.5, "high": 0.54}
        records.write(tmp_path, record, kept)
    made = report(records.read_all(tmp_path)[0], folder=tmp_path, formats=("md",), protocols={"fewlabels": FewLabels})
    assert MARKED in made.files[0].read_text()
    (table,) = made.tables
    assert table.own is not None
    even = table.own.measured.set_index(["metric", "label"])["even"]
    for n in (10, 20):
        rows = {key: found for key, found in right.items() if key[2] == n and key[0] != "random"}
        del rows["jigsaw", "scratch", n]
        best = max(rows, key=lambda key: rows[key].mean())
        chances = {key: mcnemar(rows[best], found) for key, found in rows.items() if key != best}
        for (method, way, _), chance in zip(chances, holm(list(chances.values())), strict=True):
            assert even[f"accuracy_{way}_{n}", method] == (chance >= 0.05)
        assert not even.xs("random", level="label").any()


MARKED = """\
| way          |         method |        10 (1%) |             20 |
|:-------------|---------------:|---------------:|---------------:|
| frozen       | random (floor) |     75.5 ± 2.0 |     80.2 ± 2.0 |
| frozen       |         rotnet | **75.0 ± 2.0** |     80.0 ± 2.0 |
| frozen       |         jigsaw |    ≈74.0 ± 2.0 |     60.0 ± 2.0 |
| fine-tuned   | random (floor) |     74.2 ± 2.0 |     83.0 ± 2.0 |
| fine-tuned   |         rotnet |     65.0 ± 2.0 | **85.0 ± 2.0** |
| fine-tuned   |         jigsaw |     72.0 ± 2.0 |  *≈84.8 ± 2.0* |
| from scratch |            any |  *≈74.2 ± 2.0* |     83.0 ± 2.0 |
"""


@pytest.mark.parametrize(("views", "numbers"), [(99, "10 and 20"), (100, "20"), (199, "20"), (200, "")])
def test_a_training_that_saw_too_little_is_told(tmp_path: Path, views: int, numbers: str) -> None:
    """Where there are more labelled images than views, and nowhere else."""
    runs = [run | {"card": CARD | {"views": views}} for run in RUNS]
    text = " ".join(report(runs, folder=tmp_path, formats=(), protocols={"fewlabels": FewLabels}).text.split())
    assert (f"from scratch: with {numbers} labels a class a training saw" in text) == bool(numbers)
    assert ("a training saw" in text) == bool(numbers)


def test_numbers_on_the_axis_do_not_touch() -> None:
    """Of two ticks too near for their numbers the greater goes; those far enough apart stay."""
    assert legible([20, 50, 100, 400, 500, 1000, 5000]) == [20, 50, 100, 400, 1000, 5000]
    assert legible([20, 21, 22, 5000]) == [20, 5000]
    assert legible([20]) == [20]


def test_a_failed_method_and_differing_scratches_are_shown(tmp_path: Path) -> None:
    """Methods that see other things learn otherwise from scratch and are named; what failed is no number."""
    lost = failed("simclr", 0, "no memory", card=CARD)
    lost["cell"]["protocol"] = "fewlabels"
    other = curve("split_brain", 0, (0.4, 0.6), (0.2, 0.6))
    text = " ".join(
        report(
            [*RUNS, other, lost], folder=tmp_path, formats=("md", "png"), protocols={"fewlabels": FewLabels}
        ).text.split()
    )
    assert "from scratch split_brain 20.0 ± 2.0 60.0 ± 2.0" in text
    assert "from scratch rotnet 30.0 ± 2.0 70.0 ± 2.0" in text
    assert "fine-tuned simclr failed failed" in text
    assert "simclr at conv5" not in text


def test_the_figure_shows_the_curve() -> None:
    """A panel a way, a line a method with its points in percent, from scratch in both, labels on a log axis."""
    rows = [
        {"label": m, "method": m, "role": "", "tap": "conv5", "metric": f"accuracy_{w}_{n}", "mean": v, "half": 0.02}
        for m in ("rotnet", "moco")
        for w in ("frozen", "tuned", "scratch")
        for n, v in ((1000, 0.9), (20, 0.5))
    ]
    figure = Figure(layout="constrained")
    FewLabels.plot(pd.DataFrame(rows), published("fewlabels"), figure)
    assert [axes.get_title() for axes in figure.axes] == ["frozen", "fine-tuned"]
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
        assert [line.get_label() for line in lines] == ["rotnet", "moco", "from scratch"]
        for line in lines:
            assert list(line.get_xdata()) == [20, 1000]
            assert list(line.get_ydata()) == pytest.approx([50, 90])
    diamonds = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("published (CIFAR-10, NIN)")]
    assert len(diamonds) == 15
    assert len([line for line in figure.axes[1].lines if str(line.get_label()).startswith("published")]) == 10


def test_every_method_has_a_look_of_its_own() -> None:
    """Beyond ten methods colours come again, with another mark; that nothing was published of them is no hindrance."""
    rows = [
        {
            "label": f"m{n}",
            "method": f"m{n}",
            "role": "",
            "tap": "conv5",
            "metric": "accuracy_frozen_20",
            "mean": 0.5,
            "half": 0.02,
        }
        for n in range(25)
    ]
    figure = Figure(layout="constrained")
    FewLabels.plot(pd.DataFrame(rows), published("fewlabels").iloc[:0], figure)
    assert len({(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}) == 25


PRINTED = """\
fewlabels: accuracy (%) on shapes, convnet, small

way                   method      10 (1%)           20
------------  --------------  -----------  -----------
frozen        random (floor)   60.0 ± 2.0   70.0 ± 2.0
frozen                rotnet   60.0 ± 2.0   70.0 ± 2.0
frozen                jigsaw   60.0 ± 2.0   70.0 ± 2.0
fine-tuned    random (floor)   30.0 ± 2.0   70.0 ± 2.0
fine-tuned            rotnet  *65.0 ± 2.0  *80.0 ± 2.0
fine-tuned            jigsaw   50.0 ± 2.0   75.0 ± 2.0
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
        {"epochs": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    """Each is named."""
    with pytest.raises(UserError, match=f"fewlabels.{next(iter(wrong))}"):
        FewLabels(**wrong)


@pytest.mark.parametrize(("preset", "views"), [("smoke", 512), ("small", 4000), ("paper", 200_000)])
def test_a_preset_has_its_budget(preset: str, views: int) -> None:
    """The length of a training follows the preset unless it is set."""
    request = Request(methods=("random",), protocols=("fewlabels",), preset=preset)
    (cell,) = build_plan(request).jobs[0].cells
    assert cell.settings["views"] == views
    (cell,) = build_plan(Request(**vars(request) | {"assignments": ("fewlabels.views=99",)})).jobs[0].cells
    assert cell.settings["views"] == 99


def test_a_record_holds_the_curve(tmp_path: Path) -> None:
    """One cell, one record: every number with the hash of its images, and predictions of each beside it."""
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
    assert measured.record["status"] == "ok", measured.record["error"]
    found = {number["metric"]: number for number in records.read(measured.path)["metrics"]}
    assert found["accuracy_tuned_2"]["value"] == found["accuracy_scratch_2"]["value"], "untrained is from scratch"
    assert found["accuracy_tuned_2"]["details"]["indices"] == found["accuracy_frozen_2"]["details"]["indices"]
    predictions = records.read_predictions(tmp_path / "records", records.read(measured.path))
    assert {"conv5", "labels", "conv5 accuracy_tuned_2", "conv5 accuracy_scratch_4"} <= predictions.keys()
