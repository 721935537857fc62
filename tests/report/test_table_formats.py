# ruff: noqa: E501 - the tables below are as wide as they are printed
"""Tables as text: what is printed, character by character, in each format."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sslbench.bench.records.comparable import CEILING, FLOOR
from sslbench.bench.report.render import Report, write_report
from tests.records.builders import accuracy_record, failed_record, fraction

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
    """The best at the last tap is first; floor and ceiling are rules at their places; each card has a table."""
    assert example_report.text == PRINTED


def test_the_markdown_table(example_report: Report) -> None:
    """The best is bold, the second best italic, settings are folded; a failure has its row and its reason below."""
    assert example_report.files[0].read_text() == MARKDOWN


def test_the_latex_table(example_report: Report) -> None:
    """Special signs are escaped, marks are commands, and settings are a table of their own."""
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


def test_notes_wrap_at_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sentences are wrapped at its width, an address is not broken, and published columns go below."""
    monkeypatch.setattr("sslbench.bench.report.table_formats.terminal_width", lambda: 60)
    lines = write_report(EXAMPLE[:4], folder=tmp_path, formats=()).text.splitlines()
    assert max(map(len, lines)) <= 60
    assert any("https://arxiv.org/abs/1803.07728," in line for line in lines)
    assert sum(line.startswith("method") for line in lines) == 2


def test_html_has_a_caption_rules_and_folded_settings(tmp_path: Path) -> None:
    """Floor, ceiling and chance are rules, published numbers have a group heading, and settings are folded."""
    chance = [
        replace(record, measurements=tuple(replace(found, chance=0.1) for found in record.measurements))
        for record in EXAMPLE[:-2]
    ]
    html = write_report(chance, folder=tmp_path, methods=METHODS, formats=("html",)).files[0].read_text()
    assert html.startswith(
        "<table>\n<caption>linear: accuracy (%) on shapes, convnet, small<br>jigsaw is best at conv5 (72.1 %)."
    )
    assert re.findall('<tr class="(.*?)"><td>(.*?)</td>', html) == [
        ("rule ceiling", "supervised (ceiling)"),
        ("rule floor", "random (floor)"),
        ("rule chance", "chance"),
    ]
    assert '<th colspan="2" scope="colgroup">published: ImageNet-1k, AlexNet, non-linear classifier</th>' in html
    assert html.count('<td class="published"') == 2 * 7
    assert "<summary>Settings</summary>\n<dl>\n<dt>protocol card</dt>\n<dd>taps = conv4, conv5;" in html
    assert html.index("chance</td>") < html.index("failed</td>")


def test_many_taps_fit_a_terminal(tmp_path: Path) -> None:
    """Published numbers go below the measured ones if the lines would be too long."""
    taps = [f"conv{depth}" for depth in range(1, 6)]
    measurements = tuple(fraction(tap=tap, value=0.5, ci_low=0.4, ci_high=0.6) for tap in taps)
    runs = [accuracy_record(method, 0, 0, 0, measurements=measurements) for method in ("context_encoder", "rotnet")]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert max(map(len, text.splitlines())) <= 100
    assert "38.7" in text
    assert "ImageNet-1k, AlexNet, linear classifier" in text


PRINTED = """\
linear: accuracy (%) on shapes, convnet, small; head = linear

jigsaw is best at conv5 (72.1 %). All 3 methods are significantly better than the untrained encoder
(20.0 %).

method                            conv4        conv5      published:      published:
                                                        ImageNet-1k,    ImageNet-1k,
                                                            AlexNet,        AlexNet,
                                                          non-linear      non-linear
                                                          classifier      classifier
                                                               conv4           conv5
--------------------------  -----------  -----------  --------------  --------------
── supervised (ceiling) ──   95.0 ± 2.0   96.0 ± 2.0            59.7            59.7
jigsaw                      62.0 ± 12.7  *72.1 ± 2.0            45.3            34.6
rotnet                      *75.5 ± 6.4   69.5 ± 6.4            50.0            43.8
moco                         50.0 ± 2.0   40.0 ± 2.0               -               -
── random (floor) ──         30.5 ± 6.4   20.0 ± 2.0            27.1            12.0
swav                             failed       failed               -               -

* best of the methods (supervised and random are not ranked)
±: half the 95 % interval over seeds (Student's t), or over test images (Wilson) where that is
  wider; with fewer seeds: supervised 1
published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)
data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
failed: swav, seed 0: loss is not finite
settings: python run_bench.py report --card CELL

linear: accuracy (%) on shapes, convnet, small; head = mlp

jigsaw is best at conv5 (71.5 %).

method          conv4        conv5      published:      published:
                                      ImageNet-1k,    ImageNet-1k,
                                          AlexNet,        AlexNet,
                                        non-linear      non-linear
                                        classifier      classifier
                                             conv4           conv5
--------  -----------  -----------  --------------  --------------
jigsaw     66.0 ± 2.0  *71.5 ± 2.0            45.3            34.6
rotnet    *77.0 ± 2.0   71.0 ± 2.0            50.0            43.8

* best of the methods (supervised and random are not ranked)
one seed: ± covers test images only (half the 95 % Wilson interval)
published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)
data shapes, encoder convnet, preset small, budget 320,000 views, seed 0
ceiling not measured: add supervised to --methods
floor not measured: add random to --methods
settings: python run_bench.py report --card CELL

"""

MARKDOWN = """\
### linear: accuracy (%) on shapes, convnet, small; head = linear

jigsaw is best at conv5 (72.1 %). All 3 methods are significantly better than the untrained encoder (20.0 %).

| method                     |          conv4 |          conv5 |   published: ImageNet-1k, AlexNet, non-linear classifier<br>conv4 |   published: ImageNet-1k, AlexNet, non-linear classifier<br>conv5 |
|:---------------------------|---------------:|---------------:|------------------------------------------------------------------:|------------------------------------------------------------------:|
| ── supervised (ceiling) ── |     95.0 ± 2.0 |     96.0 ± 2.0 |                                                              59.7 |                                                              59.7 |
| jigsaw                     |  *62.0 ± 12.7* | **72.1 ± 2.0** |                                                              45.3 |                                                              34.6 |
| rotnet                     | **75.5 ± 6.4** |   *69.5 ± 6.4* |                                                              50.0 |                                                              43.8 |
| moco                       |     50.0 ± 2.0 |     40.0 ± 2.0 |                                                                 - |                                                                 - |
| ── random (floor) ──       |     30.5 ± 6.4 |     20.0 ± 2.0 |                                                              27.1 |                                                              12.0 |
| swav                       |         failed |         failed |                                                                 - |                                                                 - |

- bold: best, italic: second best of the methods (supervised and random are not ranked)
- ±: half the 95 % interval over seeds (Student's t), or over test images (Wilson) where that is wider; with fewer seeds: supervised 1
- published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
- published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU Prague lecture slides reproducing RotNet Tables 2 and 4)
- data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
- failed: swav, seed 0: loss is not finite

<details>
<summary>Settings</summary>

- protocol card: taps = conv4, conv5; head = linear
- moco, unlike its paper: negatives = 4096
- shown separately, not comparable: head = mlp

</details>
"""

LATEX = r"""
\begin{table}
\centering
\caption{linear: accuracy (\%) on shapes, convnet, small; head = linear. jigsaw is best at conv5 (72.1 \%). All 3 methods are significantly better than the untrained encoder (20.0 \%).}
\label{tab:linear-shapes-convnet-small-f12fa9}
\begin{tabular}{lrr@{\hspace{2em}}rr}
\toprule
 &  &  & \multicolumn{2}{c}{published: ImageNet-1k, AlexNet, non-linear classifier} \\
\cmidrule(lr){4-5}
 method               &                       conv4 &                      conv5 & conv4 & conv5 \\
\midrule
 supervised (ceiling) &              95.0 $\pm$ 2.0 &             96.0 $\pm$ 2.0 &  59.7 &  59.7 \\
\midrule
 jigsaw               & \underline{62.0 $\pm$ 12.7} &    \textbf{72.1 $\pm$ 2.0} &  45.3 &  34.6 \\
 rotnet               &     \textbf{75.5 $\pm$ 6.4} & \underline{69.5 $\pm$ 6.4} &  50.0 &  43.8 \\
 moco                 &              50.0 $\pm$ 2.0 &             40.0 $\pm$ 2.0 &     - &     - \\
\midrule
 random (floor)       &              30.5 $\pm$ 6.4 &             20.0 $\pm$ 2.0 &  27.1 &  12.0 \\
\midrule
 swav                 &                      failed &                     failed &     - &     - \\
\bottomrule
\end{tabular}
\par\footnotesize bold: best, underlined: second best of the methods (supervised and random are not ranked)
\par\footnotesize $\pm$: half the 95 \% interval over seeds (Student's t), or over test images (Wilson) where that is wider; with fewer seeds: supervised 1
\par\footnotesize published numbers, never ranked with measured ones: ImageNet-1k, AlexNet, non-linear classifier
\par\footnotesize published in RotNet (Gidaris 2018), Table 4, https://arxiv.org/abs/1803.07728, second-hand (CTU Prague lecture slides reproducing RotNet Tables 2 and 4)
\par\footnotesize data shapes, encoder convnet, preset small, budget 320,000 views, seeds 0, 1
\par\footnotesize failed: swav, seed 0: loss is not finite
\end{table}

\begin{table}
\centering
\caption{Settings of Table~\ref{tab:linear-shapes-convnet-small-f12fa9}.}
\label{tab:linear-shapes-convnet-small-f12fa9-settings}
\footnotesize
\begin{tabular}{p{0.25\linewidth}p{0.7\linewidth}}
\toprule
 protocol card & taps = conv4, conv5; head = linear \\
 moco, unlike its paper & negatives = 4096 \\
 shown separately, not comparable & head = mlp \\
\bottomrule
\end{tabular}
\end{table}
"""
