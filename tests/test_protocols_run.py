"""Every protocol runs from the command line on the embedded data: encoders, numbers, table and figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import plugins
from sslbench.bench.records import record as records

PROTOCOLS = plugins("protocol")
FEW = ("synthetic.train=200", "synthetic.test=50", "recipe.views=128", "recipe.batch_size=16", "convnet.width=4")
ASKED = {
    "rotations": ("rotnet",),
    "negatives": ("instdisc,moco,simclr", "negatives=16", "negatives=4096", "batch=16", "batch=64"),
}
"""Methods, and which variants, where a protocol asks of some only; of the others the untrained encoder will do."""


def run(results: Path, protocol: str, *words: str) -> list[records.Record]:
    """The command, its tables and figures there; returns its records."""
    methods, *variants = ASKED.get(protocol, ("random",))
    chosen = [word for label in variants for word in ("--variant", label)]
    asked = ["--methods", methods, "--protocol", protocol, "--preset", "smoke", "--results", str(results)]
    assert main([*asked, *chosen, *words]) == 0
    assert list((results / "tables").glob(f"{protocol}-*.md"))
    assert list((results / "figures").glob(f"{protocol}-*.png"))
    return records.read_all(results / "records")[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_runs_on_a_few_images(protocol: str, tmp_path: Path) -> None:
    """A few steps of pretraining and a few images are enough for every question to be asked and shown."""
    words = [word for setting in FEW for word in ("--set", setting)]
    found = run(tmp_path, protocol, *words)
    assert {record["status"] for record in found} == {"ok"}
    assert {record["cell"]["protocol"] for record in found} == {protocol}
    assert len({(record["cell"]["method"], record["cell"]["variant"]) for record in found}) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_runs_in_smoke(protocol: str, tmp_path: Path) -> None:
    """The preset `smoke` as a user runs it, beside what knows nothing."""
    assert {record["status"] for record in run(tmp_path, protocol)} == {"ok"}
