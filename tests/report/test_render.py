# ruff: noqa: E501 - the tables below are as wide as they are printed
"""Reports: what is printed, character by character, and what may stand in one table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import to_json
from sslbench.bench.report.frame import records_frame
from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.render import Report, write_report
from sslbench.bench.report.tables import CEILING, FLOOR, ci_half_width, tap_table
from tests.records.builders import accuracy_record, changed_record, failed_record

EXAMPLE = [
    *(accuracy_record("jigsaw", seed, 0.61 + 0.02 * seed, 0.72 + 0.002 * seed) for seed in (0, 1)),
    *(accuracy_record("rotnet", seed, 0.75 + 0.01 * seed, 0.70 - 0.01 * seed) for seed in (0, 1)),
    *(accuracy_record("moco", seed, 0.5, 0.4, kind="pretrained", deviations={"negatives": 4096}) for seed in (0, 1)),
    failed_record("swav", 0, "Traceback\n  in loss\nloss is not finite"),
    *(accuracy_record(FLOOR, seed, 0.3 + 0.01 * seed, 0.2, kind="untrained") for seed in (0, 1)),
    accuracy_record(CEILING, 0, 0.95, 0.96),
    accuracy_record("rotnet", 0, 0.77, 0.71, head="mlp"),
    accuracy_record("jigsaw", 0, 0.66, 0.715, head="mlp"),
]
METHODS = ["rotnet", "jigsaw", "moco", "swav"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(
        EXAMPLE, folder=tmp_path_factory.mktemp("results"), methods=METHODS, formats=("md", "csv", "tex")
    )


def test_the_printed_table(made: Report) -> None:
    """Ceiling and floor first, then the published order, then the order given; two cards, two tables."""
    assert made.text == PRINTED


def test_the_markdown_table(made: Report) -> None:
    """Best in bold, second best in italics, a failure in its place and its reason below."""
    assert made.files[0].read_text() == MARKDOWN


def test_the_latex_table(made: Report) -> None:
    """A booktabs table that compiles: signs escaped, marks as commands."""
    assert made.files[2].read_text() == LATEX.removeprefix("\n")


def test_the_csv_is_unrounded_and_in_fractions(made: Report) -> None:
    """What machines read is tidy, with the published number beside each row."""
    rows = pd.read_csv(made.files[1])
    best = rows[rows["rank"] == 1]
    assert best[["label", "tap", "mean", "published"]].to_numpy().tolist() == [
        ["jigsaw", "conv5", 0.721, 0.346],
        ["rotnet", "conv4", 0.755, 0.5],
    ]
    assert rows["failed"].sum() == 2


def test_only_like_is_ranked_with_like() -> None:
    """Another card, data set, encoder, preset or budget is another group; the order within a group does not matter."""
    base = accuracy_record("rotnet", 0, 0.5, 0.5)
    others = [
        accuracy_record("jigsaw", 0, 0.5, 0.5, head="mlp"),
        accuracy_record("jigsaw", 0, 0.5, 0.5, views=12_000),
        accuracy_record("jigsaw", 0, 0.5, 0.5, identity={"dataset": "bb"}),
        *(
            accuracy_record("jigsaw", 0, 0.5, 0.5, cell={part: "other"})
            for part in ("dataset", "encoder", "preset", "protocol", "pretrain_dataset")
        ),
    ]
    assert len(group_comparable([base, *others])) == 1 + len(others)
    assert len(group_comparable([base, accuracy_record("jigsaw", 1, 0.5, 0.5)])) == 1


def test_the_floor_stands_in_every_table_it_fits() -> None:
    """An untrained encoder has no budget: it joins short and long runs alike, once for each seed."""
    floors = [accuracy_record(FLOOR, 0, 0.3, 0.2, kind="untrained", views=views) for views in (1, 2)]
    groups = group_comparable(
        [*floors, accuracy_record("rotnet", 0, 0.5, 0.5, views=1), accuracy_record("rotnet", 0, 0.6, 0.6, views=2)]
    )
    assert [len(group) for group in groups] == [3, 3]
    assert len(group_comparable(floors)) == 1


def test_a_collapsed_run_is_flagged(tmp_path: Path) -> None:
    """Its row says so, and a note which seed and how little its embeddings are spread; others are not touched."""
    fine, flat = {"spread": 0.9, "collapsed": False}, {"spread": 0.0123, "collapsed": True}
    runs = [accuracy_record("swav", seed, 0.3, 0.3, pretext=pretext) for seed, pretext in enumerate((fine, flat))]
    old = accuracy_record("moco", 0, 0.5, 0.5, pretext={"spread": 0.01})  # of a time when it was measured otherwise
    text = (
        write_report([*runs, old, accuracy_record("rotnet", 0, 0.6, 0.6)], folder=tmp_path, methods=METHODS)
        .files[0]
        .read_text()
    )
    assert "| swav (collapsed) |" in text
    assert "moco (collapsed)" not in text
    note = "swav (collapsed), seed 1: all images have nearly the same embedding (spread 0.012 of 1)"
    assert f"collapsed in pretraining: {note}" in text


def test_a_failure_before_the_protocol_stands_in_its_table() -> None:
    """What diverged in pretraining has no card yet: it belongs where its protocol settings and budget are measured."""
    linear, mlp = (
        changed_record(accuracy_record("rotnet", 0, 0.5, 0.5, head=head), settings={"protocol": {"head": head}})
        for head in ("linear", "mlp")
    )
    lost = failed_record("swav", 0, "the loss is not finite", card={}, source={"kind": "failed"})
    lost = changed_record(lost, settings={"protocol": {"head": "mlp"}})
    groups = group_comparable([lost, linear, mlp])
    assert [[record.cell.method for record in group] for group in groups] == [["rotnet"], ["rotnet", "swav"]]


def test_titles_tell_neighbours_apart(tmp_path: Path) -> None:
    """Two tables that differ in one setting name it, and no other."""
    runs = [accuracy_record("rotnet", 0, 0.5, 0.5, views=views) for views in (1000, 2000)]
    titles = [
        line for line in write_report(runs, folder=tmp_path, formats=()).text.splitlines() if line.startswith("linear")
    ]
    assert titles == [f"linear: accuracy (%) on shapes, convnet, small; views = {views}" for views in (1000, 2000)]


def test_two_settings_of_a_method_are_two_rows(tmp_path: Path) -> None:
    """They are named by what differs, and never averaged."""
    runs = [
        accuracy_record("rotnet", 0, 0.5 + turns / 10, 0.5, settings={"turns": turns, "flip": 0.5}) for turns in (2, 4)
    ]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert "rotnet, turns = 2   70.0 ± 2.0" in text
    assert "rotnet, turns = 4  *90.0 ± 2.0" in text


def test_a_method_alone_is_not_the_best(tmp_path: Path) -> None:
    """A mark needs a rival other than floor and ceiling."""
    text = write_report(
        [accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record(CEILING, 0, 0.9, 0.9)], folder=tmp_path, formats=()
    ).text
    assert "*" not in text


def test_intervals_are_over_seeds_where_there_are_several() -> None:
    """Two seeds: Student's t with one degree of freedom; one seed: half the bootstrap's interval; no interval: none."""
    one = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5)]).query("tap == 'conv4'")
    two = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record("rotnet", 1, 0.6, 0.5)]).query(
        "tap == 'conv4'"
    )
    parts = ["value", "ci_low", "ci_high"]
    assert ci_half_width(*one[parts].to_numpy().T) == pytest.approx(0.02)
    assert ci_half_width(*two[parts].to_numpy().T) == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert math.isnan(ci_half_width(*one[parts].assign(ci_low=math.nan).to_numpy().T))


def test_a_tap_that_a_method_lacks_is_left_open() -> None:
    """Missing is neither zero nor failed."""
    short = accuracy_record("jigsaw", 0, 0.6, 0.6)
    short = changed_record(short, measurements=short.measurements[:1])
    table = tap_table(records_frame([accuracy_record("rotnet", 0, 0.5, 0.5), short]), ["conv4", "conv5"], "accuracy")
    assert table["mean"].isna().tolist() == [False, False, False, True]
    assert table["rank"].fillna(0).tolist() == [2, 0, 1, 0]
    assert not table["failed"].any()


def test_nothing_but_failures_is_still_a_table(tmp_path: Path) -> None:
    """The report of a bad night says so, draws nothing and does not fail itself."""
    made = write_report([failed_record("rotnet", 0, "out of memory")], folder=tmp_path)
    assert "rotnet      failed" in made.text
    assert "failed: rotnet, seed 0: out of memory" in made.text
    assert {path.suffix for path in made.files} == {".md", ".csv", ".tex", ".html"}


def test_no_records_no_tables(tmp_path: Path) -> None:
    """Nothing in, nothing out."""
    assert write_report([], folder=tmp_path) == Report()


def test_another_metric_is_not_a_percentage(tmp_path: Path) -> None:
    """A protocol without the headline shows its first metric, as it is."""
    psnr = Measurement(tap="conv4", metric="psnr", value=21.5)
    run = accuracy_record("rotnet", 0, 0.5, 0.5, measurements=(psnr,))
    text = write_report([run], folder=tmp_path, formats=()).text
    assert "linear: psnr on shapes" in text
    assert "21.500" in text


def test_many_taps_still_fit_a_terminal(tmp_path: Path) -> None:
    """Where published numbers find no room beside the measured ones they go below."""
    taps = [f"conv{depth}" for depth in range(1, 6)]
    measurements = tuple(Measurement(tap=tap, metric="accuracy", value=0.5, ci_low=0.4, ci_high=0.6) for tap in taps)
    runs = [accuracy_record(method, 0, 0, 0, measurements=measurements) for method in ("context_encoder", "rotnet")]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert max(map(len, text.splitlines())) <= 100
    assert "38.7" in text
    assert "ImageNet-1k, AlexNet, linear classifier" in text


def test_rows_stand_in_the_lectures_order_with_its_rank_correlation(tmp_path: Path) -> None:
    """Conv4 and conv5 as the lecture prints them; the correlation needs three methods that are measured and printed."""
    asked = ["rotnet", "moco", "nat", "jigsaw", "colorization", "tracking"]
    better = [accuracy_record(method, 0, 0.5 + place / 100, 0.9 - place / 100) for place, method in enumerate(asked)]
    text = write_report(
        [*better, accuracy_record(FLOOR, 0, 0.99, 0.01, kind="untrained")], folder=tmp_path, methods=asked
    ).text
    rows = [line.split() for line in text.splitlines() if " ± " in line]
    assert [row[0] for row in rows] == ["random", "tracking", "colorization", "jigsaw", "nat", "rotnet", "moco"]
    assert rows[4][-2:] == ["-", "36.0"]
    # Published conv4: tracking < colorization < jigsaw < rotnet, measured the other way round. Of conv5's five the
    # ranks 1 3 2 4 5 meet 1 2 3 4 5: one less six times two over five times twenty-four.
    assert "without supervised and random: conv4 -1.00 (4 rows), conv5 0.90 (5 rows)" in " ".join(text.split())
    assert "rank correlation" not in write_report(better[:3], folder=tmp_path, formats=()).text


def test_figures_are_drawn_once_and_the_same(tmp_path: Path) -> None:
    """Same records, same bytes; an unchanged figure is not drawn again, a changed one is."""
    first = write_report(EXAMPLE[:4], folder=tmp_path / "a")
    again = write_report(EXAMPLE[:4], folder=tmp_path / "b", formats=("svg",))
    assert [path.suffix for path in first.files] == [".md", ".csv", ".tex", ".html", ".png", ".svg"]
    assert first.files[-1].read_bytes() == again.files[-1].read_bytes()
    stamps = [path.stat().st_mtime_ns for path in first.files]
    write_report(EXAMPLE[:4], folder=tmp_path / "a")
    assert [path.stat().st_mtime_ns for path in first.files] == stamps
    write_report(EXAMPLE[1:4], folder=tmp_path / "a", formats=("svg",))
    assert [path.stat().st_mtime_ns > stamp for path, stamp in zip(first.files, stamps, strict=True)] == [False] * 5 + [
        True
    ]


def test_two_thousand_records_are_read_and_tabulated(tmp_path: Path, benchmark: Any) -> None:
    """A folder of a year's work is no reason to wait."""
    for seed in range(200):
        for number in range(10):
            record = accuracy_record(f"method{number}", seed, 0.5 + number / 100, 0.5, kind="pretrained")
            path = tmp_path / f"{store.file_stem(record)}.json"
            path.write_text(json.dumps(to_json(record)))

    def made() -> Report:
        return write_report(store.read_all(tmp_path)[0], folder=tmp_path / "out", formats=("md",))

    assert "method9" in benchmark.pedantic(made, rounds=1).text


PRINTED = """\
linear: accuracy (%) on shapes, convnet, small; head = linear

method                      conv4        conv5          conv4          conv5
                                                  (published)    (published)
--------------------  -----------  -----------  -------------  -------------
supervised (ceiling)   95.0 ± 2.0   96.0 ± 2.0           59.7           59.7
random (floor)         30.5 ± 6.4   20.0 ± 0.0           27.1           12.0
jigsaw                62.0 ± 12.7  *72.1 ± 1.3           45.3           34.6
rotnet                *75.5 ± 6.4   69.5 ± 6.4           50.0           43.8
moco                   50.0 ± 0.0   40.0 ± 0.0              -              -
swav                       failed       failed              -              -

* best of the methods (supervised and random are not ranked)
±: half the 95 % interval over seeds (Student's t); with fewer seeds: supervised 1
weights bundled: supervised, jigsaw, rotnet
weights untrained: random
weights pretrained now: moco
settings that differ from the paper, moco: negatives = 4096
protocol card: taps = conv4, conv5; head = linear
data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
not comparable with this table, shown separately: head = mlp
published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)
failed: swav, seed 0: loss is not finite

linear: accuracy (%) on shapes, convnet, small; head = mlp

method          conv4        conv5          conv4          conv5
                                      (published)    (published)
--------  -----------  -----------  -------------  -------------
jigsaw     66.0 ± 2.0  *71.5 ± 2.0           45.3           34.6
rotnet    *77.0 ± 2.0   71.0 ± 2.0           50.0           43.8

* best of the methods (supervised and random are not ranked)
±: half the 95 % interval over test images (bootstrap)
weights bundled: jigsaw, rotnet
protocol card: taps = conv4, conv5; head = mlp
data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0
not comparable with this table, shown separately: head = linear
published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)

"""

MARKDOWN = """\
### linear: accuracy (%) on shapes, convnet, small; head = linear

| method               |          conv4 |          conv5 |   conv4 (published) |   conv5 (published) |
|:---------------------|---------------:|---------------:|--------------------:|--------------------:|
| supervised (ceiling) |     95.0 ± 2.0 |     96.0 ± 2.0 |                59.7 |                59.7 |
| random (floor)       |     30.5 ± 6.4 |     20.0 ± 0.0 |                27.1 |                12.0 |
| jigsaw               |  *62.0 ± 12.7* | **72.1 ± 1.3** |                45.3 |                34.6 |
| rotnet               | **75.5 ± 6.4** |   *69.5 ± 6.4* |                50.0 |                43.8 |
| moco                 |     50.0 ± 0.0 |     40.0 ± 0.0 |                   - |                   - |
| swav                 |         failed |         failed |                   - |                   - |

- bold: best, italic: second best of the methods (supervised and random are not ranked)
- ±: half the 95 % interval over seeds (Student's t); with fewer seeds: supervised 1
- weights bundled: supervised, jigsaw, rotnet
- weights untrained: random
- weights pretrained now: moco
- settings that differ from the paper, moco: negatives = 4096
- protocol card: taps = conv4, conv5; head = linear
- data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
- not comparable with this table, shown separately: head = mlp
- published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
- published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU Prague lecture slides reproducing RotNet Tables 2 and 4)
- failed: swav, seed 0: loss is not finite
"""

LATEX = r"""
\begin{table}
\caption{linear: accuracy (\%) on shapes, convnet, small; head = linear}
\begin{tabular}{lrrrr}
\toprule
 method               &                       conv4 &                      conv5 & conv4 (published) & conv5 (published) \\
\midrule
 supervised (ceiling) &              95.0 $\pm$ 2.0 &             96.0 $\pm$ 2.0 &              59.7 &              59.7 \\
 random (floor)       &              30.5 $\pm$ 6.4 &             20.0 $\pm$ 0.0 &              27.1 &              12.0 \\
 jigsaw               & \underline{62.0 $\pm$ 12.7} &    \textbf{72.1 $\pm$ 1.3} &              45.3 &              34.6 \\
 rotnet               &     \textbf{75.5 $\pm$ 6.4} & \underline{69.5 $\pm$ 6.4} &              50.0 &              43.8 \\
 moco                 &              50.0 $\pm$ 0.0 &             40.0 $\pm$ 0.0 &                 - &                 - \\
 swav                 &                      failed &                     failed &                 - &                 - \\
\bottomrule
\end{tabular}
\par\footnotesize bold: best, underlined: second best of the methods (supervised and random are not ranked)
\par\footnotesize $\pm$: half the 95 \% interval over seeds (Student's t); with fewer seeds: supervised 1
\par\footnotesize weights bundled: supervised, jigsaw, rotnet
\par\footnotesize weights untrained: random
\par\footnotesize weights pretrained now: moco
\par\footnotesize settings that differ from the paper, moco: negatives = 4096
\par\footnotesize protocol card: taps = conv4, conv5; head = linear
\par\footnotesize data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
\par\footnotesize not comparable with this table, shown separately: head = mlp
\par\footnotesize published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
\par\footnotesize published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU Prague lecture slides reproducing RotNet Tables 2 and 4)
\par\footnotesize failed: swav, seed 0: loss is not finite
\end{table}
"""
