"""The folder is the registry, read as text."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.plugins import discovery as plugins

METHOD = '''"""{summary}"""
from sslbench import Method

class {name}(Method):
    needs = frozenset({{"labels"}})
    def __init__(self, encoder, facts, *, depth: int = 3, sizes: tuple[float, ...] = (1.0, 2.0)):
        super().__init__(encoder, facts)
'''


def written(folder: Path, file: str, name: str, summary: str = "A method of a test.") -> str:
    """A method file; returns its path."""
    path = folder / file
    path.write_text(METHOD.format(name=name, summary=summary))
    return str(path)


@pytest.mark.parametrize("kind", plugins.FOLDERS)
def test_every_file_of_the_folder_is_found_and_nothing_else(kind):
    """A kind's plugins are the files of its folder without a leading underscore, under their own names."""
    files = {path.stem for path in (plugins.ROOT / plugins.FOLDERS[kind]).glob("*.py") if not path.name.startswith("_")}
    assert set(plugins.plugins(kind)) == files


@pytest.mark.parametrize("kind", plugins.FOLDERS)
def test_what_is_read_is_what_is_imported(kind):
    """Class, settings and defaults read from the text are those of the imported class."""
    import dataclasses
    import inspect

    for plugin in plugins.plugins(kind).values():
        cls = plugin.load()
        assert cls.__name__ == plugin.class_name
        if dataclasses.is_dataclass(cls):
            found = {f.name: f.default for f in dataclasses.fields(cls)}
        else:
            parameters = inspect.signature(cls.__init__).parameters.values()
            found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        found.pop("data_dir", None)
        assert plugin.settings.keys() == found.keys()
        assert plugin.defaults == {name: value for name, value in found.items() if plugin.settings[name].known}
        assert plugin.constants.get("needs", frozenset()) == getattr(cls, "needs", frozenset())
        assert (plugin.constants.get("short_run_settings") or {}) == getattr(cls, "short_run_settings", {})


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", "4_096", 4096),
        ("float", "1e-3", 0.001),
        ("bool", "no", False),
        ("bool", "True", True),
        ("str", "a,b", "a,b"),
        ("tuple[int, ...]", "0,90", (0, 90)),
        ("tuple[int, ...]", "(7,)", (7,)),
        ("Literal['mse', 'bce']", "bce", "bce"),
        ("int | None", "none", None),
        ("int | None", "5", 5),
    ],
)
def test_settings_are_parsed_by_their_annotation(annotation, text, value):
    """A setting's text becomes a value of the declared type."""
    assert plugins.Setting("x", annotation, None).parsed(text, "plugin") == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [("int", "1.5"), ("float", "x"), ("bool", "maybe"), ("Literal['a', 'b']", "c"), ("tuple[int, ...]", "a")],
)
def test_a_value_of_another_type_is_refused(annotation, text):
    """What does not parse is a UserError that shows the default as an example."""
    with pytest.raises(UserError, match=r"--set plugin\.x=.*for example 7"):
        plugins.Setting("x", annotation, 7).parsed(text, "plugin")


def test_a_file_given_by_path_is_a_plugin_of_its_base_class(tmp_path):
    """--plugin finds the kind by the base class and loads the class from outside the repository."""
    file = written(tmp_path, "my_own.py", "MyOwn")
    plugin = plugins.plugins("method", (file,))["my_own"]
    assert plugin.defaults == {"depth": 3, "sizes": (1.0, 2.0)}
    assert plugin.constants["needs"] == {"labels"}
    assert plugin.load().__name__ == "MyOwn"
    assert "my_own" not in plugins.plugins("protocol", (file,))


def test_two_files_of_one_name_are_two_plugins(tmp_path):
    """A file's class is that file's, though another folder's file of the same name was loaded before."""
    found = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        file = written(tmp_path / folder, "twin.py", "Twin", f"Of {folder}.")
        found.append(plugins.given(file).load())
        assert plugins.given(file).load() is found[-1]
    assert [sys.modules[cls.__module__].__doc__ for cls in found] == ["Of one.", "Of other."]


def test_an_installed_package_brings_plugins_by_entry_point(tmp_path, monkeypatch):
    """A module declared under sslbench.methods stands beside ours."""
    written(tmp_path, "theirs.py", "Theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = EntryPoints([EntryPoint("theirs", "theirs", "sslbench.methods")])
    monkeypatch.setattr(plugins, "entries", lambda: entries)
    assert plugins.plugins("method")["theirs"].load().__name__ == "Theirs"
    assert plugins.summaries("method")["theirs"] == plugins.plugins("method")["theirs"].summary


@pytest.mark.parametrize("kind", plugins.FOLDERS)
def test_the_listing_reads_the_first_line_and_finds_the_summary(kind):
    """What ``list`` takes from the first line of each file is what parsing the file finds."""
    assert plugins.summaries(kind) == {name: plugin.summary for name, plugin in plugins.plugins(kind).items()}


@pytest.mark.parametrize(
    ("file", "name", "summary", "told"),
    [
        ("moco.py", "MoCo", "Another one.", "two methods are called 'moco'"),
        ("mine.py", "Other", "A method.", "needs a class Mine"),
        ("mute.py", "Mute", "", "docstring"),
    ],
)
def test_a_plugin_that_breaks_the_rules_is_refused(tmp_path, file, name, summary, told):
    """A taken name, a class not named like the file and a missing summary each get their own sentence."""
    with pytest.raises(UserError, match=told):
        plugins.plugins("method", (written(tmp_path, file, name, summary),))


def test_a_file_that_is_no_plugin_is_refused(tmp_path):
    """A class without one of the four bases, and text that is no Python, are named."""
    (tmp_path / "plain.py").write_text('"""A class."""\nclass Plain: ...\n')
    (tmp_path / "noise.py").write_text("this is no python")
    for name, told in (
        ("plain.py", "derives from none of Method, Protocol, DatasetSource, Encoder"),
        ("noise.py", "not Python"),
    ):
        with pytest.raises(UserError, match=told):
            plugins.given(str(tmp_path / name))


def test_a_default_that_is_computed_is_left_to_the_class(tmp_path):
    """A default that is no literal is not passed on as None, and the setting can still be set."""
    (tmp_path / "computed.py").write_text(
        '"""Computed."""\nfrom sslbench import Method\nWIDTH = 8\nNEEDS = {"labels"}\n'
        "class Computed(Method):\n    needs = frozenset(NEEDS)\n"
        "    def __init__(self, encoder, facts, *, width: int = WIDTH, none: int | None = None): ...\n"
    )
    plugin = plugins.given(str(tmp_path / "computed.py"))
    assert plugin.defaults == {"none": None}
    assert plugin.settings["width"].parsed("5", "computed") == 5


def test_a_plugin_that_fails_on_import_is_told(tmp_path):
    """An error inside a plugin's file is one line with its name."""
    (tmp_path / "raising.py").write_text('"""R."""\nfrom sslbench import Method\nclass Raising(Method): ...\n1 / 0\n')
    with pytest.raises(UserError, match=r"raising\.py: fails on import \(ZeroDivisionError"):
        plugins.given(str(tmp_path / "raising.py")).load()
