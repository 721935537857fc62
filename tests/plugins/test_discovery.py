"""Plugins are found as files, and read from their text."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.plugins import discovery

METHOD = '''"""{summary}"""
from sslbench import Method

class {name}(Method):
    needs = frozenset({{"labels"}})
    def __init__(self, encoder, train_info, *, depth: int = 3, sizes: tuple[float, ...] = (1.0, 2.0)):
        super().__init__(encoder, train_info)
'''


def write_plugin(folder: Path, file: str, name: str, summary: str = "A method of a test.") -> str:
    """Writes a method and returns the file's path."""
    path = folder / file
    path.write_text(METHOD.format(name=name, summary=summary))
    return str(path)


@pytest.mark.parametrize("kind", discovery.FOLDERS)
def test_every_file_of_the_folder_is_found_and_nothing_else(kind: str) -> None:
    """A kind's plugins are the files of its folder without a leading underscore, under their own names."""
    folder = discovery.ROOT / discovery.FOLDERS[kind]
    names = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    assert discovery.find_plugins(kind).keys() == names


@pytest.mark.parametrize("kind", discovery.FOLDERS)
def test_what_is_read_is_what_is_imported(kind: str) -> None:
    """Class, settings and defaults read from the text are those of the imported class."""
    for plugin in discovery.find_plugins(kind).values():
        cls: Any = plugin.load()
        assert cls.__name__ == plugin.class_name
        if dataclasses.is_dataclass(cls):
            found = {f.name: f.default for f in dataclasses.fields(cls)}
        else:
            parameters = inspect.signature(cls.__init__).parameters.values()
            found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        found.pop("data_dir", None)
        assert plugin.settings.keys() == found.keys()
        later = plugin.constants.get("later_settings") or {}  # they stay out of keys at their defaults
        known = {name: value for name, value in found.items() if plugin.settings[name].known}
        assert plugin.defaults == {name: value for name, value in known.items() if name not in later}
        assert later.items() <= known.items()
        assert plugin.constants.get("needs", frozenset()) == getattr(cls, "needs", frozenset())
        assert (plugin.constants.get("short_run_settings") or {}) == getattr(cls, "short_run_settings", {})


def test_a_file_given_by_path_is_a_plugin_of_its_base_class(tmp_path: Path) -> None:
    """--plugin finds the kind by the base class and loads the class from outside the repository."""
    file = write_plugin(tmp_path, "my_own.py", "MyOwn")
    plugin = discovery.find_plugins("method", (file,))["my_own"]
    assert plugin.defaults == {"depth": 3, "sizes": (1.0, 2.0)}
    assert plugin.constants["needs"] == {"labels"}
    assert plugin.load().__name__ == "MyOwn"
    assert "my_own" not in discovery.find_plugins("protocol", (file,))


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    """Each file has a class of its own, although a file of the same name was loaded from another folder before."""
    found = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        file = write_plugin(tmp_path / folder, "twin.py", "Twin", f"Of {folder}.")
        found.append(discovery.plugin_in_file(file).load())
        assert discovery.plugin_in_file(file).load() is found[-1]
    assert [sys.modules[cls.__module__].__doc__ for cls in found] == ["Of one.", "Of other."]


def test_an_installed_package_provides_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that it declares under the entry point group sslbench.methods is a method."""
    write_plugin(tmp_path, "theirs.py", "Theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = EntryPoints([EntryPoint("theirs", "theirs", "sslbench.methods")])
    monkeypatch.setattr(discovery, "installed_entry_points", lambda: entries)
    assert discovery.find_plugins("method")["theirs"].load().__name__ == "Theirs"
    assert discovery.plugin_summaries("method")["theirs"] == discovery.find_plugins("method")["theirs"].summary


@pytest.mark.parametrize("kind", discovery.FOLDERS)
def test_the_first_line_is_the_summary(kind: str) -> None:
    """``list`` reads only the first line of each file, and gets what parsing the whole file would give."""
    parsed = {name: plugin.summary for name, plugin in discovery.find_plugins(kind).items()}
    assert discovery.plugin_summaries(kind) == parsed


@pytest.mark.parametrize(
    ("file", "name", "summary", "message"),
    [
        ("moco.py", "MoCo", "Another one.", "two methods are called 'moco'"),
        ("mine.py", "Other", "A method.", "needs a class Mine"),
        ("mute.py", "Mute", "", "docstring"),
    ],
)
def test_a_plugin_that_breaks_a_rule_is_refused(
    tmp_path: Path, file: str, name: str, summary: str, message: str
) -> None:
    """A taken name, a class that is not named like the file, and a missing docstring."""
    with pytest.raises(UserError, match=message):
        discovery.find_plugins("method", (write_plugin(tmp_path, file, name, summary),))


def test_a_file_that_is_not_a_plugin_is_refused(tmp_path: Path) -> None:
    """A class without one of the four base classes, and text that is not Python."""
    (tmp_path / "plain.py").write_text('"""A class."""\nclass Plain: ...\n')
    (tmp_path / "noise.py").write_text("this is no python")
    for name, message in (
        ("plain.py", "must be derived from one of Method, Protocol, DatasetSource, Encoder"),
        ("noise.py", "not valid Python"),
    ):
        with pytest.raises(UserError, match=message):
            discovery.plugin_in_file(str(tmp_path / name))


def test_a_computed_default_is_left_to_the_class(tmp_path: Path) -> None:
    """A default that is not a literal is not passed on as None, and the setting can still be set."""
    (tmp_path / "computed.py").write_text(
        '"""Computed."""\nfrom sslbench import Method\nWIDTH = 8\nNEEDS = {"labels"}\n'
        "class Computed(Method):\n    needs = frozenset(NEEDS)\n"
        "    def __init__(self, encoder, train_info, *, width: int = WIDTH, none: int | None = None): ...\n"
    )
    plugin = discovery.plugin_in_file(str(tmp_path / "computed.py"))
    assert plugin.defaults == {"none": None}
    assert plugin.settings["width"].parse("5", "computed") == 5


def test_a_plugin_that_fails_on_import_is_refused(tmp_path: Path) -> None:
    """An error in a plugin's file is one line with the file's name."""
    (tmp_path / "raising.py").write_text('"""R."""\nfrom sslbench import Method\nclass Raising(Method): ...\n1 / 0\n')
    with pytest.raises(UserError, match=r"raising\.py: fails on import \(ZeroDivisionError"):
        discovery.plugin_in_file(str(tmp_path / "raising.py")).load()
