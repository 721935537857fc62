"""The identity of code: what was edited is computed again, and a better docstring voids nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.plugins import code_identity as module
from sslbench.bench.plugins.code_identity import code_identity, declared_revision, product_name, source_hash
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from tests.builders import run_quickly

MOCO = ROOT / "methods" / "moco.py"
NETWORK = """
from torch import nn
{imports}

def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), {layer})
"""


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """A list of the files as they are now, which a test may change."""
    rows = module.current_list()
    monkeypatch.setattr(module, "read_list", lambda: rows)
    return rows


def test_released_code_adds_nothing_to_a_key(listed: dict[str, dict[str, object]]) -> None:
    """Files that equal the list at revision 1 leave the keys of earlier records valid."""
    assert code_identity([MOCO, ROOT / "bench/training/loop.py"]) == {}


def test_an_edited_file_counts_for_all_that_import_it(listed: dict[str, dict[str, object]]) -> None:
    """A changed helper of a method, or of the engine's views, changes the identity of each method that uses it."""
    for helper in ("methods/_momentum.py", "bench/images/augment.py", "bench/encoders/__init__.py"):
        source, listed[helper] = listed[helper], {"revision": 1, "source": "another"}
        assert code_identity([MOCO]).keys() == {helper}
        listed[helper] = source
    listed["methods/_tiles.py"] = {"revision": 1, "source": "another"}
    assert code_identity([MOCO]) == {}, "moco does not import it"
    del listed["methods/moco.py"]
    assert code_identity([MOCO]).keys() == {"methods/moco.py"}, "a file that the release does not have"


def test_a_raised_revision_counts(listed: dict[str, dict[str, object]]) -> None:
    """A released file at revision 2 has other keys than at revision 1."""
    listed["methods/_momentum.py"]["revision"] = 2
    assert code_identity([MOCO]) == {"methods/_momentum.py": "revision 2"}


def test_comments_docstrings_and_blank_lines_do_not_count() -> None:
    """The hash is of code alone; a changed value, or text that is used as a value, does count."""
    code = b'"""Doc."""\nx = 1  # why\n\ndef f():\n    """Doc."""\n    return "# text"\n'
    same = b'"""Other."""\nx = 1\ndef f():\n    """More\n    lines."""\n\n    return "# text"  # new\n'
    assert source_hash(code) == source_hash(same) == source_hash(code.replace(b"\n", b"\r\n"))
    assert (
        len({source_hash(code), source_hash(code.replace(b"1", b"2")), source_hash(code.replace(b"text", b"t"))}) == 3
    )
    assert (declared_revision(b"REVISION = 3\n"), declared_revision(b"x = 1\n")) == (3, 1)


def test_packages_that_are_installed_elsewhere_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages of the user or of the system are not in this environment's own folder; following torch takes minutes."""
    for folder, package in (("site-packages", "first_party"), ("dist-packages", "second_party")):
        (tmp_path / folder / package / "part").mkdir(parents=True)
        (tmp_path / folder / package / "part" / "net.py").write_text("WIDTH = 3\n")  # a namespace package
        (tmp_path / folder / f"{package}_module.py").write_text("WIDTH = 3\n")
        monkeypatch.syspath_prepend(tmp_path / folder)
    (tmp_path / "own_helper.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    user = tmp_path / "own_net.py"
    user.write_text(
        "import first_party_module, second_party_module, own_helper\n"
        "from first_party.part import net\nfrom second_party.part.net import WIDTH\n"
    )
    assert code_identity([user]).keys() == {"own_net.py", "own_helper.py"}


def test_the_list_is_of_every_file_that_computes() -> None:
    """Each method, protocol, encoder and probe is in the list, so that `make check` asks about each change."""
    names = set(module.current_list())
    assert {product_name(MOCO), "bench/training/loop.py", "bench/evaluation/probes/neighbours.py"} <= names
    assert not any(name.startswith(("bench/report/", "bench/cli/")) for name in names)


def key_of_network(path: str) -> str:
    """The key of a cell on the network ``mynet:net``, planned by a process that has ``path`` on its PYTHONPATH."""
    code = (
        "from sslbench.bench.planning.build import build_plan\nfrom sslbench.bench.planning.plan import Request\n"
        "request = Request(methods=('random',), protocols=('knn',), encoder='own/mynet:net', taps=('1',))\n"
        "print(build_plan(request).jobs[0].cells[0].key)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), path])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("where", ["module", "package", "helper", "on PYTHONPATH"])
def test_an_edited_network_has_another_key(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ``forward`` with the same weights is another network, wherever its code is."""
    folder = tmp_path / "elsewhere" if where == "on PYTHONPATH" else tmp_path
    file = {"package": folder / "mynet" / "__init__.py", "helper": folder / "layers.py"}.get(where, folder / "mynet.py")
    file.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    keys = []
    for layer in ("nn.ReLU()", "nn.ReLU()  # the same", "nn.Threshold(1e9, 0.0)"):
        if where == "helper":
            (folder / "mynet.py").write_text(NETWORK.format(imports="from layers import last", layer="last()"))
            file.write_text(f"from torch import nn\n\ndef last():\n    return {layer}\n")
        else:
            file.write_text(NETWORK.format(imports="", layer=layer.replace("  # the same", "")))
        keys.append(key_of_network(str(folder) if where == "on PYTHONPATH" else ""))
    assert keys[0] == keys[1] != keys[2]


def test_an_edited_network_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an edit of ``forward`` the features are new, although the weights are the same."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    values = []
    for layer in ("nn.ReLU()", "nn.Threshold(1e9, 0.0)"):
        (tmp_path / "mynet.py").write_text(NETWORK.format(imports="", layer=layer))
        sys.modules.pop("mynet", None)
        words = ["--methods", "random", "--protocol", "knn", "--set", "knn.k=20", "--encoder-from", "mynet:net"]
        assert run_quickly(tmp_path / "results", *words, "--taps", "1") == 0
        newest = max((tmp_path / "results" / "records").glob("*.json"), key=os.path.getmtime)
        values.append(records.read(newest).measurements[0].value)
    sys.modules.pop("mynet", None)
    assert values[0] > values[1], "without features only chance is left"
