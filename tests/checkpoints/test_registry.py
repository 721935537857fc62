"""Tests of registered checkpoints: what the TOML files next to the methods say can be true, and faults are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sslbench.bench.checkpoints import detect
from sslbench.bench.checkpoints.registry import registered_checkpoints
from sslbench.bench.checkpoints.resolve import with_encoder_plugin
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import InputSpec

from .builders import PLUGINS

ALL = [with_encoder_plugin(found, PLUGINS) for found in registered_checkpoints(PLUGINS["method"].values())]


def test_every_registered_checkpoint_is_plausible() -> None:
    """The encoder can be built, the URL is https, and published numbers are fractions at taps of the encoder."""
    assert len({found.token for found in ALL}) == len(ALL) >= 40
    for found in ALL:
        assert found.url.startswith("https://"), found.token
        assert found.file
        assert found.file.name.startswith(found.token)
        assert found.input_spec
        encoder = detect.build_skeleton(found, 32)
        for by_tap in found.published.values():
            assert by_tap.keys() <= set(encoder.taps)
            assert all(0 < value < 1 for value in by_tap.values())
        assert not found.published or found.source.startswith("https://"), found.token


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x]\nurl = ", "cannot be read as TOML"),
        ('url = "https://example.org/x.pth"', "'url' must be a table with a url"),
        ("[x]\nlinear = 0.5", "'x' must be a table with a url"),
        ('[x]\nurl = "x.pth"\nlienar = 0.5', "unknown key 'lienar'. Did you mean 'linear'"),
        ('[x]\nurl = "x.pth"\nlinear = "half"', "linear must be a fraction or a table, not 'half'"),
        ('[x]\nurl = "x.pth"\ninput = 224', "input must be a table, not 224"),
        ('[x]\nurl = "x.pth"\ninput = { sise = 8 }', "unknown input 'sise'. Did you mean 'size'"),
        ('[x]\nurl = "x.pth"\ninput = { colour = "grey" }', "unknown colour 'grey'"),
        ('[x]\nurl = "x.pth"\ninput = { colour = 3 }', "unknown colour '3'"),
    ],
)
def test_a_faulty_toml_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """A syntax error, an unknown key and a value of the wrong type are each one line that begins with the path."""
    (tmp_path / "moco.toml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        list(registered_checkpoints([replace(PLUGINS["method"]["moco"], path=tmp_path / "moco.py")]))
    assert str(refused.value).startswith(f"{tmp_path / 'moco.toml'}: ")
    assert "\n" not in str(refused.value)


def test_arrays_in_a_toml_file_become_tuples(tmp_path: Path) -> None:
    """Sequences have the type that settings and input fields have elsewhere, so equal ones compare equal."""
    (tmp_path / "moco.toml").write_text(
        '[x]\nurl = "x.pth"\nsettings = { widths = [[1, 2], 3] }\ninput = { mean = [0.5] }'
    )
    (found,) = registered_checkpoints([replace(PLUGINS["method"]["moco"], path=tmp_path / "moco.py")])
    assert found.settings == {"widths": ((1, 2), 3)}
    assert found.input_spec == InputSpec(mean=(0.5,))
