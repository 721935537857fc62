"""Signals that ask a run to stop: what is saved, the exit code, and that the same command resumes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sslbench.bench import progress
from sslbench.bench.checkpoints import store
from sslbench.bench.progress import Interrupted, Progress, show_progress, stop_signals
from tests.builders import run_quickly, write_method

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows delivers no such signals to a process")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_saves_the_run_and_the_same_command_resumes(
    name: str, code: int, tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler's signals are as harmless as Ctrl-C: training continues where it stopped, bit for bit."""
    stop = f"        if self.step == 6 and os.environ.get('STOP'): os.kill(os.getpid(), signal.{name})"
    words = ["--plugin", write_method(tmp_path, "pausing", stop), "--methods", "pausing", "--protocol", "knn"]
    found = {}
    for folder in ("never", "stopped"):
        monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / folder))
        if folder == "stopped":
            monkeypatch.setenv("STOP", "1")
            assert run_quickly(results / folder, *words, "--set", "knn.k=20") == code
            monkeypatch.delenv("STOP")
            assert list((tmp_path / folder / "encoders").glob("*.partial"))
        assert run_quickly(results / folder, *words, "--set", "knn.k=20") == 0
        (file,) = (path for path in (tmp_path / folder / "encoders").glob("*.safetensors") if "heads" not in path.name)
        found[folder] = store.read_tensors(file)[0]
    assert all((value == found["stopped"][name]).all() for name, value in found["never"].items())


def test_a_repeated_signal_of_a_scheduler_does_not_interrupt_saving() -> None:
    """Some schedulers send SIGTERM twice, or SIGHUP after it: the first counts."""
    with stop_signals() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as interrupted:
            stop.raise_if_requested()
        assert interrupted.value.exit_code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_restored_and_an_ignored_hang_up_stays_ignored() -> None:
    """After the work signals do what they did before; a process started with nohup outlives its terminal."""
    before = {number: signal.getsignal(number) for number in progress.STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.raise_if_requested()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in progress.STOP_SIGNALS} == before


def test_a_terminal_that_is_gone_does_not_lose_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the terminal closes, bars cannot be drawn any more; the events are still closed, which saves their state."""
    saved = []

    def events():  # type: ignore[no-untyped-def]
        try:
            yield Progress(title="work", done=0, total=2)
            os.kill(os.getpid(), signal.SIGHUP)
            yield Progress(title="work", done=1, total=2)
        finally:
            saved.append(True)

    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    shown = show_progress(events())
    next(shown)
    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(Interrupted):
        list(shown)
    assert saved == [True]
