"""What a record says about code and machine, on systems that lack some of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records.provenance import checkout, current_provenance, peak_memory


def test_memory_is_left_out_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no module resource; the record then has no number."""
    assert peak_memory(torch.device("cpu"))["peak_memory_bytes"] > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(torch.device("cpu")) == {}


def test_a_machine_without_git_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is unknown then."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    checkout.cache_clear()
    monkeypatch.setattr(subprocess, "run", missing)
    assert current_provenance(torch.device("cpu")).commit is None
    checkout.cache_clear()


HIDE = """
import importlib, os, pkgutil, signal, sys
import filelock, multiprocessing.context, platformdirs.unix, sklearn, timm, torch, torchvision  # they know the system
for name in ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "alarm", "setitimer", "pthread_kill"):
    delattr(signal, name)
for name in ("fork", "sched_getaffinity", "getuid", "geteuid", "getpgid", "killpg", "uname", "posix_fallocate"):
    delattr(os, name)
for part in ("sslbench.bench", "sslbench.methods", "sslbench.protocols"):
    for found in pkgutil.walk_packages(importlib.import_module(part).__path__, f"{part}."):
        importlib.import_module(found.name)
from sslbench.bench.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def test_everything_runs_without_what_only_posix_has(tmp_path: object) -> None:
    """Each module is imported and a cell is measured, with all that Windows lacks hidden."""
    words = ["--methods", "random", "--protocol", "knn", "--set", "knn.k=5", "--set", "synthetic.train=60"]
    words += ["--set", "synthetic.test=20", "--results", f"{tmp_path}/results"]
    done = subprocess.run([sys.executable, "-c", HIDE, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_number_of_threads_is_recorded() -> None:
    """Seconds and the last digits of sums depend on it."""
    assert current_provenance(torch.device("cpu")).threads == torch.get_num_threads()
