"""Progress: time left, bars at 80 columns, lines in pipes, what each option shows, and the summary."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from rich.console import Console

from sslbench.bench.errors import UserError
from sslbench.bench.progress import (
    Finished,
    Progress,
    Step,
    Workload,
    format_duration,
    log_output,
    show_progress,
    with_progress_bar,
)
from sslbench.bench.progress.display import BarDisplay, LineDisplay, make_display, shorten_middle
from sslbench.bench.progress.log import LOGGER, TerminalHandler, error_console, wrap_words
from sslbench.bench.progress.time_left import TimeLeft
from tests.builders import run_quickly, write_method

LONG = "timm/vit_base_patch16_224.augreg_in21k@0.9.16_with_a_name_that_goes_on_and_on: features"


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


class Done(Finished):
    """A finished cell with a given line."""

    def __init__(self, line: str, *, failed: bool = False) -> None:
        self._line, self._failed = line, failed

    @property
    def line(self) -> str:
        """The line given."""
        return self._line

    @property
    def failed(self) -> bool:
        """As given."""
        return self._failed


def two_cells() -> Workload:
    """Two methods with one cell each: pretraining of 100 and 300 views, features of 50 images, a probe."""
    steps = []
    for piece, (name, views) in enumerate((("a", 100), ("b", 300)), start=1):
        kinds = (f"pretraining {name}", "pretraining")
        steps.append(Step(title=f"{name}: pretraining", kinds=kinds, amount=views, piece=piece))
        steps.append(Step(title=f"{name}: features", kinds=("features",), amount=50, piece=piece))
        steps.append(Step(title=f"{name}: knn", kinds=("knn",), amount=1, piece=piece))
    return Workload(unit="cell", pieces=2, steps=tuple(steps))


def event(title: str, done: int, total: int, workload: Workload | None = None) -> Progress:
    """A progress event."""
    return Progress(title=title, done=done, total=total, workload=workload)


def test_the_time_left_comes_from_the_steps_that_were_timed() -> None:
    """Before a kind of step was timed, the estimate is a lower bound and says so; pretraining counts by its views."""
    clock = Clock()
    left = TimeLeft(clock)
    left.update(event("data: reading", 0, 0, two_cells()))
    assert str(left) == ""
    left.update(event("a: pretraining", 0, 10))
    clock.now = 20
    left.update(event("a: pretraining", 5, 10))
    # 20 s for the other half, and 120 s for b's 300 views; features and probes are unknown.
    assert left.seconds_left() == (pytest.approx(140), False)
    assert str(left) == "cell 1 of 2, more than 2 min left"
    clock.now = 40
    left.update(event("a: features", 0, 50))
    clock.now = 45
    left.update(event("a: features", 50, 50))
    left.update(event("a: knn", 0, 1))
    clock.now = 47
    left.update(event("a: knn", 1, 1))
    left.update(event("b: pretraining", 0, 10))
    assert left.seconds_left() == (pytest.approx(120 + 5 + 2), True)
    clock.now = 53
    left.update(event("b: pretraining", 1, 10))
    # b goes at its own speed, 6 s for a tenth, and not at that of a.
    assert left.seconds_left() == (pytest.approx(54 + 5 + 2), True)
    assert str(left) == "cell 2 of 2, about 1 min 1 s left"


def test_the_time_left_of_a_cell_that_is_nearly_all_pretraining_shrinks_steadily() -> None:
    """A single cell: its pretraining is work like any other, from the first percent on."""
    clock = Clock()
    left = TimeLeft(clock)
    step = Step(title="a: pretraining", kinds=("pretraining",), amount=1000, piece=1)
    probe = Step(title="a: knn", kinds=("knn",), amount=1, piece=1)
    left.update(event("reading", 0, 0, Workload(unit="cell", pieces=1, steps=(step, probe))))
    seconds = []
    for done in range(1, 101):
        left.update(event("a: pretraining", done, 100))
        clock.now += 0.95
        seconds.append(left.seconds_left()[0])
    assert seconds[1:] == sorted(seconds[1:], reverse=True)
    assert seconds[50] == pytest.approx(49 * 0.95, rel=0.05)


def test_the_time_left_ignores_failed_and_cached_steps() -> None:
    """A step that fails says nothing about the next one; one resumed in the middle counts what it did itself."""
    clock = Clock()
    left = TimeLeft(clock)
    left.update(event("data: reading", 0, 0, two_cells()))
    left.update(event("a: pretraining", 80, 100))  # resumed: 20 views took 10 s
    clock.now = 10
    left.update(event("a: pretraining", 100, 100))
    left.update(event("a: features", 0, 50))  # nothing to extract
    left.update(event("a: knn", 0, 1))
    clock.now = 100
    left.drop_current()
    left.update(event("b: pretraining", 0, 100))
    assert left.seconds_left() == (pytest.approx(150), False)  # probes are still unknown


def test_steps_without_a_plan_have_a_time_left_of_their_own() -> None:
    """A download is one step, and says how long it takes."""
    clock = Clock()
    left = TimeLeft(clock)
    left.update(event("file: bytes", 0, 1000))
    clock.now = 8
    left.update(event("file: bytes", 250, 1000))
    assert str(left) == "about 24 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (252, "4 min 12 s"), (11100, "3 h 5 min")]
)
def test_durations_have_at_most_two_units(seconds: float, words: str) -> None:
    """Minutes beside hours, seconds beside minutes."""
    assert format_duration(seconds) == words


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("total", [62, 102_400_000])
def test_bars_keep_count_and_time(width: int, total: int) -> None:
    """Titles and notes are shortened to what is left of the line; the end of a title names the step."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = BarDisplay(console)
    try:
        steps = tuple(Step(title=title, kinds=(title,), amount=1, piece=3) for title in (LONG, "b: linear"))
        display.show(event("data: reading", 0, 0, Workload(unit="cell", pieces=62, steps=steps)))
        display.show(Progress(title=LONG, done=1, total=total, note=""))
        display.show(Progress(title=LONG, done=3, total=total, note="loss 0.123, spread 0.456, accuracy 0.789"))
    finally:
        display.close()
    with console.capture() as capture:
        console.print(display.render())
    first, second = capture.get().splitlines()
    assert re.search(rf"\.\.\..*ures .* +3/{total} 0:00:0\d (-:--:--|\d+:\d\d:\d\d)", first)
    assert re.match(r"cell 3 of 62(, more than .* left)? ", second)
    assert max(len(first.rstrip()), len(second.rstrip())) <= width


def test_titles_with_brackets_are_shown_as_they_are() -> None:
    """Square brackets are no markup."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    display = BarDisplay(console)
    display.show(Progress(title="file/a[1],[b]: features", done=1, total=2, note="x [bold]"))
    display.close()
    with console.capture() as capture:
        console.print(display.render())
    assert "file/a[1],[b]: features" in capture.get()
    assert "x [bold]" in capture.get()


def test_short_titles_are_kept_and_long_ones_lose_their_middle() -> None:
    """Both ends tell steps apart."""
    assert shorten_middle("rotnet: features", 16) == "rotnet: features"
    assert shorten_middle("rotnet: features", 12) == "rot...atures"


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until a thread has done something, for at most ten seconds."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_long_silence_is_broken_also_while_no_event_comes() -> None:
    """A probe may take minutes without an event; the line says what runs, how far, and the time left."""
    with redirect_stderr(io.StringIO()) as stderr, log_output():
        (handler,) = LOGGER.handlers
        assert isinstance(handler, TerminalHandler)
        display = LineDisplay(handler, interval=0.05)
        display.show(event("a: pretraining", 0, 1200, two_cells()))
        display.show(Progress(title="a: pretraining", done=300, total=1200, note="loss 0.5"))
        wait_for(lambda: stderr.getvalue().count("\n") >= 2)
        display.close()
        after = stderr.getvalue()
        threading.Event().wait(0.15)
    assert stderr.getvalue() == after  # the thread has ended
    for line in after.splitlines():
        assert re.fullmatch(r"a: pretraining 300/1,200, for 0 s, loss 0.5, cell 1 of 2(, more than \d+ s left)?", line)


def test_pieces_of_a_step_are_shown_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding pictures is part of a step: one line at a time says how far it is, and its time is not the step's."""
    monkeypatch.setattr("sslbench.bench.progress.display.HEARTBEAT_SECONDS", 0.05)

    def chunks() -> Iterator[list[int]]:
        yield [1, 2]
        wait_for(lambda: "Reading 2/1,000" in stderr.getvalue())
        yield [3, 4]

    def events():  # type: ignore[no-untyped-def]
        yield Progress(title="data: reading", done=0, total=0)
        read = list(with_progress_bar(chunks(), "Reading", 1000, size_of=len))
        yield read

    with redirect_stderr(io.StringIO()) as stderr, log_output():
        assert list(show_progress(events()))[-1] == [[1, 2], [3, 4]]
        assert list(with_progress_bar(chunks(), "Reading", 1000, size_of=len)) == [[1, 2], [3, 4]]
    assert re.fullmatch(
        r"(data: reading, for 0 s\n)?(Reading 2/1,000, for 0 s(, about \d+ s left)?\n)+", stderr.getvalue()
    )


def test_lines_that_are_printed_anyway_make_the_regular_ones_needless() -> None:
    """Finished cells break the silence too."""
    with redirect_stderr(io.StringIO()) as stderr, log_output():
        (handler,) = LOGGER.handlers
        assert isinstance(handler, TerminalHandler)
        display = LineDisplay(handler, interval=0.4)
        for _ in range(12):
            display.show(Done("finished"))
            threading.Event().wait(0.05)
        display.close()
    assert set(stderr.getvalue().splitlines()) == {"finished"}


def test_finished_cells_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    """Failed ones count too; events are passed on as they are."""

    def events():  # type: ignore[no-untyped-def]
        yield event("reading", 0, 0, Workload(unit="cell", pieces=12, steps=()))
        yield Done("a  knn  conv5 50.0 %  1 s")
        yield Done("failed: b: ValueError: no", failed=True)
        yield "something else"

    with log_output():
        passed = list(show_progress(events()))
    assert passed[-1] == "something else"
    assert capsys.readouterr().err == "[ 1/12] a  knn  conv5 50.0 %  1 s\n[ 2/12] failed: b: ValueError: no\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [({}, "wif"), ({"quiet": True}, "f"), ({"verbose": True}, "dwif")],
)
def test_options_choose_what_is_shown_and_the_file_gets_everything(
    options: dict[str, bool], shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file is appended to, each message at once and with the time."""
    file, words = tmp_path / "new/run.log", {"d": "detail", "w": "warning", "i": "information", "f": "failure"}
    level = LOGGER.level
    for run in (1, 2):
        with log_output(file=file, **options):  # type: ignore[arg-type]
            log = logging.getLogger("sslbench.bench.run")
            log.debug("detail")
            log.warning("warning")
            log.info("information")
            log.error("failure")
            assert file.read_text().count("\n") == 4 * run
    assert capsys.readouterr().err.split() == 2 * [words[letter] for letter in shown]
    lines = file.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) ", line) for line in lines)
    assert (LOGGER.handlers, LOGGER.level) == ([], level)


def test_an_error_that_ends_the_work_is_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line prints it itself."""
    with pytest.raises(UserError), log_output(file=tmp_path / "log"):
        raise UserError("--taps: names nothing.")
    assert "stopped: UserError: --taps: names nothing." in (tmp_path / "log").read_text()
    assert capsys.readouterr().err == ""


def test_a_log_file_that_cannot_be_opened_is_a_mistake(tmp_path: Path) -> None:
    """A folder, or a file where a folder would have to be."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "log"):
        with (
            pytest.raises(UserError, match=r"--log-file .*: cannot be opened .*; choose another file."),
            log_output(file=path),
        ):
            pass
    assert LOGGER.handlers == []


def test_inner_contexts_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A function that shows progress may be called from a command that does; each message is printed once."""
    with log_output(quiet=True):
        with log_output(verbose=True):
            LOGGER.info("not shown")
        LOGGER.error("shown")
    assert capsys.readouterr().err == "shown\n"


def test_only_the_first_process_of_torchrun_shows_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others show their errors only, and leave the file alone."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        with log_output(file=tmp_path / f"log{rank}"):
            LOGGER.info("line of %s", rank)
            LOGGER.error("error of %s", rank)
    assert capsys.readouterr().err == "line of 0\nerror of 0\nerror of 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log0"]


def test_lines_wrap_between_words_and_paths_stay_whole() -> None:
    """A path longer than the terminal is wide has a line of its own, so that it can be copied."""
    path = "/a/very/long/path-with-hyphens/" + 60 * "x"
    assert wrap_words(f"cannot read {path} at all\nnext", 40).split("\n") == [
        "cannot read",
        f"  {path}",
        "  at all",
        "next",
    ]


@pytest.mark.parametrize(
    ("term", "terminal", "bars"), [("xterm", True, True), ("dumb", True, False), ("xterm", False, False)]
)
def test_bars_are_drawn_on_terminals_that_can(
    term: str, terminal: bool, bars: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dumb terminal cannot go back to redraw a line, so it gets lines, like a pipe; a quiet run gets neither."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    error_console.cache_clear()
    for quiet in (False, True):
        with log_output(quiet=quiet):
            (handler,) = LOGGER.handlers
            assert isinstance(handler, TerminalHandler)
            display = make_display(handler)
            display.close()
            assert isinstance(display, BarDisplay) == (bars and not quiet)
    error_console.cache_clear()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_bars_need_no_characters_beyond_ascii(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and an ASCII terminal: lines and bars are drawn without colours and without question marks."""
    monkeypatch.setenv("NO_COLOR", "1")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    console = Console(file=stream, width=80, force_terminal=True)
    display = BarDisplay(console)
    display.show(Progress(title=LONG, done=3, total=62, note="a note"))
    console.print(display.render())
    display.close()
    stream.flush()
    drawn = raw.getvalue().decode(encoding)
    assert "3/62" in drawn
    assert "?" not in re.sub(r"\x1b\[\?25[lh]", "", drawn)
    assert not re.search(r"\x1b\[3\dm", drawn)


def test_a_terminal_that_is_gone_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nohup the work goes on when the terminal closes, and its results are in the records."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    def events():  # type: ignore[no-untyped-def]
        yield Progress(title="work", done=1, total=2)
        yield Done("finished")

    for terminal in (False, True):
        with redirect_stderr(Gone()) as stream:
            monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
            error_console.cache_clear()
            with log_output():
                assert len(list(show_progress(events()))) == 2
    error_console.cache_clear()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, session_cache: None) -> dict[str, str]:
    """What is printed by a run of three cells, by the same run again, and by it once more with --quiet."""
    folder = tmp_path_factory.mktemp("progress")
    file = write_method(folder, "faulty", "        raise ValueError('no')")
    words = ["--protocol", "knn", "--set", "knn.k=20", "--taps", "conv5"]
    commands = {
        "first": ["--methods", "random", *words, "--seeds", "0,1"],
        "second": ["--plugin", file, "--methods", "random,faulty", *words, "--seeds", "0,1"],
        "again": ["--methods", "random", *words, "--seeds", "0,1", "--log-file", str(folder / "log")],
        "quiet": ["--plugin", file, "--methods", "random,faulty", *words, "--quiet", "--overwrite"],
        "verbose": ["--methods", "random", *words, "--verbose", "--overwrite"],
    }
    printed = {}
    for name, command in commands.items():
        with redirect_stderr(io.StringIO()) as errors, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sslbench.bench.cli.report.print_results", lambda results: None)  # tables take seconds
            run_quickly(folder / "results", *command)
        printed[name] = errors.getvalue().replace(str(folder), "FOLDER")
    printed["log"] = (folder / "log").read_text()
    return printed


def test_a_run_prints_a_line_per_cell_and_a_summary(runs: dict[str, str]) -> None:
    """Number, method, protocol, the headline in percent, and seconds."""
    pattern = (
        r"\[1/2\] random, seed 0  knn  conv5 \d+\.0 %  \d+ s\n"
        r"\[2/2\] random, seed 1  knn  conv5 \d+\.0 %  \d+ s\n"
        r"2 cells: 2 measured, \d+ s\n"
    )
    assert re.fullmatch(pattern, runs["first"])


def test_the_summary_counts_what_was_reused_and_what_failed(runs: dict[str, str]) -> None:
    """Cells that are there are neither measured nor numbered again."""
    pattern = (
        r"\[1/2\] failed: faulty, seed 0: ValueError: no \(FOLDER/faulty.py:\d+, in loss\)\n"
        r"\[2/2\] failed: faulty, seed 1: ValueError: no \(FOLDER/faulty.py:\d+, in loss\)\n"
        r"4 cells: 0 measured, 2 reused from FOLDER/results, 2 failed, \d+ s\n"
    )
    assert re.fullmatch(pattern, runs["second"])


def test_a_run_with_nothing_to_do_says_so(runs: dict[str, str]) -> None:
    """On the error stream and in the file."""
    words = "all 2 cells are measured already; --overwrite measures again"
    assert runs["again"] == f"{words}\n"
    assert words in runs["log"]


def test_a_quiet_run_prints_errors_only(runs: dict[str, str]) -> None:
    """Progress, finished cells and the summary are left out."""
    assert re.fullmatch(r"\[2/2\] failed: faulty: ValueError: no \(.*\)\n", runs["quiet"])


def test_a_verbose_run_prints_each_step(runs: dict[str, str]) -> None:
    """Data, the encoder's origin, features, each measurement with its details, and the time of the probe."""
    lines = [re.sub(r"\d+\.\d %", "N %", re.sub(r"\d+ s$", "N s", line)) for line in runs["verbose"].splitlines()]
    assert lines == [
        "synthetic: 200 train and 50 test images read in N s",
        "random: encoder untrained",
        "random: features extracted in N s",
        "random: knn: accuracy at conv5 N % (k 20, temperature 0.07)",
        "random: knn: macro_accuracy at conv5 N %",
        "random: knn took N s",
        lines[-2],
        "1 cell: 1 measured, N s",
    ]
    assert lines[-2].startswith("[1/1] random  knn  conv5 ")
