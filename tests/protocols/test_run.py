"""Every protocol runs from the command line on the embedded data, with every variant that it compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.records import store as records
from sslbench.bench.records.record import Record
from tests.builders import plugins_under_test

PROTOCOLS = plugins_under_test("protocol")
# As many images as the largest batch of a variant needs.
FEW = ("synthetic.train=1100", "synthetic.test=50", "recipe.views=128", "recipe.batch_size=16", "convnet.width=4")


def run(results: Path, protocol: str, *words: str) -> list[Record]:
    """Runs a protocol and checks that there are tables and figures; returns the records.

    It runs for the methods whose variants it compares, or for random weights.
    """
    plugin = PROTOCOLS[protocol]
    methods = ",".join(plugin.constants.get("variants") or ["random"])
    command = ["--methods", methods, "--protocol", protocol, "--preset", "smoke", "--results", str(results)]
    command += [] if plugin.module else ["--plugin", str(plugin.path)]
    assert main([*command, *words]) == 0
    assert list((results / "tables").glob(f"{protocol}-*.md"))
    assert list((results / "figures").glob(f"{protocol}-*.png"))
    return records.read_all(results / "records")[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_runs_on_few_images(protocol: str, tmp_path: Path) -> None:
    """A few steps of pretraining and a few images are enough for every protocol, its table and its figure."""
    words = [word for setting in FEW for word in ("--set", setting)]
    found = run(tmp_path, protocol, *words)
    assert {record.status for record in found} == {"ok"}
    assert {record.cell.protocol for record in found} == {protocol}
    variants = PROTOCOLS[protocol].constants.get("variants") or {"random": [""]}
    cells = {(record.cell.method, record.cell.variant) for record in found}
    assert len(cells) == len(found) == sum(map(len, variants.values()))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_runs_in_smoke(protocol: str, tmp_path: Path) -> None:
    """Every protocol runs with the preset "smoke"."""
    assert {record.status for record in run(tmp_path, protocol)} == {"ok"}
