"""What every data set promises. Those that need files or a download are checked by their own tests."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from sslbench.bench.data import DatasetSource, Split
from sslbench.bench.errors import UserError
from sslbench.bench.plugins.discovery import Plugin
from tests.builders import plugins_under_test

FEW = {"train": 40, "test": 20}
"""Settings that make a data set small, if it has them."""

MADE_HERE = [
    plugin
    for plugin in plugins_under_test("dataset").values()
    if "data_dir" not in {field.name for field in dataclasses.fields(plugin.load())}
]
every = pytest.mark.parametrize("plugin", MADE_HERE, ids=lambda plugin: plugin.name)


def small(plugin: Plugin, **settings: Any) -> DatasetSource:
    """The data set with few images."""
    few = {name: value for name, value in FEW.items() if name in plugin.settings}
    source: DatasetSource = plugin.load()(**few | settings)
    return source


@every
def test_the_docstring_says_what_it_is(plugin: Plugin) -> None:
    """The first line is a sentence; `list` prints it."""
    assert re.fullmatch(r"\S.*\.", plugin.summary)
    assert "\n" in (ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or "")


@every
def test_what_is_known_before_loading_is_so(plugin: Plugin) -> None:
    """Name, classes, size and numbers of images are those of the loaded data; images are uint8, labels int64."""
    source = small(plugin)
    info, dataset = source.check(), source.load(frozenset())
    assert (dataset.name, dataset.classes, dataset.image_size) == (info.name, info.classes, info.image_size)
    assert (len(dataset.train), len(dataset.test)) == (info.train_images, info.test_images)
    for split in (dataset.train, dataset.test):
        images = split.images[:]
        assert images.dtype == torch.uint8
        assert images.shape == (len(split), 3, info.image_size, info.image_size)
        assert split.labels.dtype == torch.int64
        assert sorted(set(split.labels.tolist())) == list(range(len(info.classes)))
    assert info.per_class in (None, int(dataset.train.labels.bincount().min()))


@every
def test_it_loads_what_it_provides(plugin: Plugin) -> None:
    """What it declares in ``provides`` is there when it is needed; the images are the same with and without it."""
    source = small(plugin)
    plain, full = source.load(frozenset()).train, source.load(source.provides).train
    assert torch.equal(plain.images[:], full.images[:])
    assert {field.name for field in dataclasses.fields(Split) if getattr(full, field.name) is not None} == (
        {"images", "labels"} | source.provides
    )


@every
def test_twice_gives_the_same(plugin: Plugin) -> None:
    """All randomness is seeded, and train and test images differ."""
    first, second = (small(plugin).load(frozenset()) for _ in range(2))
    assert torch.equal(first.train.images[:], second.train.images[:])
    assert torch.equal(first.train.labels, second.train.labels)
    assert not torch.equal(first.train.images[: len(first.test)], first.test.images[:])


@every
def test_the_identity_covers_the_settings(plugin: Plugin) -> None:
    """The identity is the same for equal settings, and another for each changed one."""
    changes = {
        name: not value if type(value) is bool else value + 4
        for name, value in dataclasses.asdict(small(plugin)).items()
        if type(value) in (int, float, bool)
    }
    sources = [small(plugin), *(small(plugin, **{name: value}) for name, value in changes.items())]
    identities = [source.check().identity for source in sources]
    assert len(set(identities)) == len(sources)
    assert identities[0] == small(plugin).check().identity
    assert all(re.fullmatch(r"[0-9a-f]{16,}", identity) for identity in identities)


@every
def test_a_bad_setting_is_refused(plugin: Plugin) -> None:
    """A number far out of range is a UserError, when the source is made or checked."""
    for name, value in dataclasses.asdict(small(plugin)).items():
        if type(value) in (int, float):
            with pytest.raises(UserError, match=name):
                small(plugin, **{name: type(value)(-(10**6))}).check()


@every
def test_planning_needs_no_torch(plugin: Plugin) -> None:
    """The file is imported and the data are checked without torch, so that mistakes are reported at once."""
    code = (
        "import sys; from pathlib import Path; from sslbench.bench.plugins.discovery import read_plugin\n"
        f"read_plugin(Path({str(plugin.path)!r}), {plugin.module!r}, 'dataset').load()().check()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
