"""Keys of cells whose protocols need further targets of the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan, Request
from sslbench.bench.run.describe import record_header
from tests.builders import save_grey_picture

PROTOCOLS = ("linear", "segmentation", "regression")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures with masks and numbers."""
    root = tmp_path / "pictures"
    lines = ["path,age"]
    for i in range(8):
        path = f"{('train', 'test')[i % 2]}/{('cat', 'dog')[i // 2 % 2]}/{i}.png"
        save_grey_picture(root / path, 20 * i)
        save_grey_picture(root / "masks" / path, i // 2)
        lines.append(f"{path},{i / 2}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def plan_of(root: Path, *protocols: str) -> Plan:
    """A plan of the untrained encoder on a folder."""
    return build_plan(
        Request(
            methods=("random",),
            protocols=protocols,
            dataset="folder",
            data_dir=str(root),
            preset="smoke",
            results=root / "nowhere",
        )
    )


def keys(root: Path) -> dict[str, str]:
    """The key of each protocol's cell."""
    return {cell.protocol.name: cell.key for job in plan_of(root, *PROTOCOLS).jobs for cell in job.cells}


def test_a_key_depends_on_the_targets_that_the_protocol_needs(pictures: Path) -> None:
    """Another mask changes the key of segmentation, another number that of regression, and neither that of linear."""
    before = keys(pictures)
    save_grey_picture(pictures / "masks/train/cat/0.png", 3)
    masked = keys(pictures)
    assert {name for name in PROTOCOLS if masked[name] != before[name]} == {"segmentation"}
    table = (pictures / "labels.csv").read_text()
    (pictures / "labels.csv").write_text(table.replace("0.png,0.0", "0.png,0.25"))
    numbered = keys(pictures)
    assert {name for name in PROTOCOLS if numbered[name] != masked[name]} == {"regression"}


def test_a_record_names_the_targets_that_its_protocol_needs(pictures: Path) -> None:
    """Their digests are in its settings, next to those of the data set."""
    plan = plan_of(pictures, *PROTOCOLS)
    (job,) = plan.jobs
    recorded = {
        cell.protocol.name: record_header(plan, job, cell, torch.device("cpu")).settings.dataset.get("targets")
        for cell in job.cells
    }
    assert recorded["linear"] is None
    assert recorded["segmentation"] == plan.source.target_identity(frozenset({"masks"}))
    assert recorded["regression"] == plan.source.target_identity(frozenset({"values"}))


def test_a_missing_target_is_found_while_planning(pictures: Path) -> None:
    """The error comes before any work, and only if a protocol needs the target."""
    (pictures / "masks/test/dog/3.png").unlink()
    plan_of(pictures, "linear", "regression")
    with pytest.raises(UserError, match=r"test/dog/3\.png: there is no masks/test/dog/3\.png"):
        plan_of(pictures, "segmentation")
    with pytest.raises(UserError, match="depth_probe needs depth, which pictures lacks"):
        plan_of(pictures, "depth_probe")
