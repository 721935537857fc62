# ruff: noqa: E501 - the tables below are as wide as they are printed
"""Tables as text: what is printed, character by character, in each format."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.report.render import Report, write_report
from sslbench.bench.report.tables import CEILING, FLOOR
from tests.records.builders import accuracy_record, failed_record

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
def example_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(
        EXAMPLE, folder=tmp_path_factory.mktemp("results"), methods=METHODS, formats=("md", "csv", "tex")
    )


def test_the_printed_table(example_report: Report) -> None:
    """Ceiling and floor are first, then the published order, then the given order; each protocol card has a table."""
    assert example_report.text == PRINTED


def test_the_markdown_table(example_report: Report) -> None:
    """The best is bold and the second best italic; a failure has its row, and its reason is below."""
    assert example_report.files[0].read_text() == MARKDOWN


def test_the_latex_table(example_report: Report) -> None:
    """Special signs are escaped, and marks are commands."""
    assert example_report.files[2].read_text() == LATEX.removeprefix("\n")


def test_the_csv_is_unrounded_and_in_fractions(example_report: Report) -> None:
    """The numbers are tidy, and each row has its published number."""
    rows = pd.read_csv(example_report.files[1])
    best = rows[rows["rank"] == 1]
    assert best[["label", "tap", "mean", "published"]].to_numpy().tolist() == [
        ["jigsaw", "conv5", 0.721, 0.346],
        ["rotnet", "conv4", 0.755, 0.5],
    ]
    assert rows["failed"].sum() == 2


def test_names_cannot_be_formulas_or_columns(tmp_path: Path) -> None:
    """A name that begins like a formula is text to a spreadsheet, and a bar in a name begins no column."""
    names = ("=HYPERLINK(1)", "+1", "@SUM(A1)", "-1", "a|b")
    report = write_report(
        [accuracy_record(name, 0, 0.5, 0.5) for name in names], folder=tmp_path, formats=("md", "csv")
    )
    markdown, csv = (file.read_text() for file in report.files)
    assert {line.split(",")[0] for line in csv.splitlines()[1:]} == {*(f"'{name}" for name in names[:4]), "a|b"}
    assert r"a\|b" in markdown


def test_many_taps_fit_a_terminal(tmp_path: Path) -> None:
    """Published numbers go below the measured ones if the lines would be too long."""
    taps = [f"conv{depth}" for depth in range(1, 6)]
    measurements = tuple(Measurement(tap=tap, metric="accuracy", value=0.5, ci_low=0.4, ci_high=0.6) for tap in taps)
    runs = [accuracy_record(method, 0, 0, 0, measurements=measurements) for method in ("context_encoder", "rotnet")]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert max(map(len, text.splitlines())) <= 100
    assert "38.7" in text
    assert "ImageNet-1k, AlexNet, linear classifier" in text


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
±: half the 95 % interval over test images (Wilson)
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
