"""Runs that are killed and stopped at random moments: what is resumed equals an uninterrupted run bit for bit.

Each run is a process of its own, forked from one that has imported everything, since importing takes longer than the
run itself. The test of several processes at once starts the program as users do.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from sslbench.bench.checkpoints import store
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from tests.builders import QUICK_OPTIONS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads the processor time of other processes"),
]

MOMENTS = 34  # of each of three signals
SIGNALS_PER_RUN = 3  # the same run is stopped so often before it may end
WORDS = [
    *("--methods", "rotnet,random", "--protocol", "knn,linear"),
    *("--set", "knn.k=20", "--no-references", *QUICK_OPTIONS),
]
IMPORTED_ONCE = [
    "torch",
    "sslbench.bench.cli",
    "sslbench.bench.run.runner",
    "sslbench.bench.report.render",
    "sslbench.bench.report.plots",
    "tests.campaign.test_interruptions",
]


class Outcome(NamedTuple):
    """What a run leaves behind that must not depend on interruptions."""

    cells: dict[str, tuple[object, ...]]  # by key: all that a record decides
    predictions: dict[str, dict[str, bytes]]  # by file name: the arrays
    weights: dict[str, dict[str, bytes]]  # by file name: the tensors of encoders and heads


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Starts processes from one that has imported all that a run needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    return context


def run_in_fork(folder: Path, begun: Event) -> None:
    """The command line in the process that was forked for it; the exit code is the program's."""
    import torch

    from sslbench.bench.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    os.environ["SSLBENCH_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    with (folder / "printed").open("w") as printed:
        sys.stdout = sys.stderr = printed
        try:
            begun.set()
            code = main([*WORDS, "--results", str(folder / "results")])
        except KeyboardInterrupt:  # before the program began
            code = 128 + signal.SIGINT
    os._exit(code)


def start(context: ForkServerContext, folder: Path) -> ForkServerProcess:
    """A run in a folder, which has begun when this returns."""
    folder.mkdir(exist_ok=True)
    begun = context.Event()
    process = context.Process(target=run_in_fork, args=(folder, begun))
    process.start()
    assert begun.wait(120)
    return process


def processor_seconds(process: ForkServerProcess) -> float:
    """The processor time of a process, which does not depend on what else runs; infinite if it has ended."""
    clock = ~(process.pid or 0) << 3 | 2  # as Linux numbers the clocks of processes, see clock_getcpuclockid(3)
    with contextlib.suppress(OSError):
        return time.clock_gettime(clock)
    return math.inf


def wait_until(process: ForkServerProcess, seconds: float) -> float:
    """Returns when a process has used this processor time or has ended; returns the last time seen before its end."""
    seen = 0.0
    while process.is_alive() and (now := processor_seconds(process)) < math.inf:
        seen = now
        if seen >= seconds:
            break
        time.sleep(0.002)
    return seen


def finish(context: ForkServerContext, folder: Path) -> float:
    """Runs to the end and returns the processor seconds it took."""
    process = start(context, folder)
    seconds = wait_until(process, math.inf)
    process.join(300)
    assert process.exitcode == 0, (folder / "printed").read_text()
    return seconds


def outcome_of(folder: Path) -> Outcome:
    """What is in a run's folder; no record may be damaged."""
    found, damaged = records.read_all(folder / "results" / "records")
    assert damaged == []
    return Outcome(
        {one.key: (one.status, one.identity, one.settings, one.measurements, one.mistakes) for one in found},
        {file.name: arrays_in(file) for file in (folder / "results" / "records").glob("*.npz")},
        {file.name: tensors_in(file) for file in (folder / "cache" / "encoders").glob("*.safetensors")},
    )


def arrays_in(file: Path) -> dict[str, bytes]:
    """The bytes of each array in a .npz file; the file itself also holds the time of its making."""
    with np.load(file) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def tensors_in(file: Path) -> dict[str, bytes]:
    """The bytes of each tensor in a file of weights."""
    return {name: tensor.numpy().tobytes() for name, tensor in store.read_tensors(file)[0].items()}


@pytest.fixture(scope="module")
def uninterrupted(context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, float]:
    """What a run from nothing to the end leaves, and its processor seconds."""
    folder = tmp_path_factory.mktemp("whole")
    seconds = finish(context, folder)
    whole = outcome_of(folder)
    assert (len(whole.cells), len(whole.predictions), len(whole.weights)) == (4, 4, 2)
    return whole, seconds


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_run_stopped_at_random_moments_ends_as_if_it_never_was(
    name: str, context: ForkServerContext, tmp_path: Path, uninterrupted: tuple[Outcome, float]
) -> None:
    """After each signal no file is damaged, and the run that follows completes the rest."""
    whole, seconds = uninterrupted
    number = getattr(signal, name)
    moments = random.Random(name)
    codes: list[Any] = []
    for attempt in range(MOMENTS):
        folder = tmp_path / str(attempt // SIGNALS_PER_RUN)
        process = start(context, folder)
        wait_until(process, moments.random() ** 2 * seconds)  # most while it measures, some while it draws figures
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, number)
        process.join(120)
        codes.append(process.exitcode)
        assert codes[-1] in (0, -number, 128 + number), (folder / "printed").read_text()
        assert "Traceback" not in (folder / "printed").read_text()
        outcome_of(folder)
        if attempt % SIGNALS_PER_RUN == SIGNALS_PER_RUN - 1 or attempt == MOMENTS - 1:
            finish(context, folder)
            assert outcome_of(folder) == whole
            assert not list(folder.rglob("*.part"))
    assert sum(code != 0 for code in codes) > MOMENTS / 3, f"most signals must arrive during a run: {codes}"


def test_four_processes_share_results_and_cache(tmp_path: Path, uninterrupted: tuple[Outcome, float]) -> None:
    """They may do the same work twice, but nothing is damaged, and the results are those of one."""
    environment = os.environ | {"SSLBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run_bench.py", *WORDS, "--results", str(tmp_path / "results")]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, printed = process.communicate(timeout=600)
        assert process.returncode == 0, printed.decode()
    assert outcome_of(tmp_path) == uninterrupted[0]
