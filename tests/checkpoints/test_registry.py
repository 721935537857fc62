"""Tests of registered checkpoints: what the TOML files next to the methods say can be true, and faults are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sslbench.bench.checkpoints import detect
from sslbench.bench.checkpoints.registry import registered_checkpoints
from sslbench.bench.checkpoints.resolve import with_encoder_plugin
from sslbench.bench.cli import main
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
        assert bool(found.reading) == bool(encoder.token_taps), f"{found.token}: say what its numbers were read at"
        for by_tap in found.published.values():
            assert by_tap.keys() <= set(encoder.taps)
            assert all(0 < value < 1 for value in by_tap.values())
        assert not found.published or found.source.startswith("https://"), found.token


def test_pictures_are_resized_as_in_each_evaluation() -> None:
    """Bicubic in the evaluations that DINO (also by VISSL) and MAE published, bilinear in all others."""
    bicubic = {found.token for found in ALL if found.input_spec and found.input_spec.resampling == "bicubic"}
    assert bicubic == {
        *(f"dino@{name}" for name in ("rn50", "vit_s16", "vit_s8", "vit_b16", "vit_b8", "vissl_vit_s16")),
        *(f"mae@{name}" for name in ("vit_b", "vit_l", "vit_h")),
    }


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
        ('[x]\nurl = "x.pth"\nreading = "tokens"', "reading must be one of average, max, mean, token, token+mean"),
        ('[x]\nurl = "x.pth"\nreading = { knm = "token" }', "or a table of linear and knn"),
        ('[x]\nurl = "x.pth"\ninput = { size = "big" }', "input.size must be a whole number from 1 to 2048"),
        ('[x]\nurl = "x.pth"\ninput = { size = true }', "input.size must be a whole number"),
        ('[x]\nurl = "x.pth"\ninput = { crop = 0 }', "input.crop must be above 0 and at most 1"),
        ('[x]\nurl = "x.pth"\ninput = { crop = nan }', "input.crop must be above 0"),
        ('[x]\nurl = "x.pth"\ninput = { resampling = "lanczos" }', "input.resampling must be bilinear or bicubic"),
        ('[x]\nurl = "x.pth"\ninput = { mean = [0.5, 0.5] }', "input.mean must be 3 numbers"),
        ('[x]\nurl = "x.pth"\ninput = { std = [0.5, 0.0, 0.5] }', "input.std must be 3 numbers above 0"),
        ('[x]\nurl = "x.pth"\nlinear = 71.1', "linear and knn must be fractions from 0 to 1"),
        ('[x]\nurl = "x.pth"\nknn = { conv5 = "high" }', "linear and knn must be fractions"),
        ('[x]\nurl = "x.pth"\nsha256 = "abc"', "sha256 must be 64 hex digits"),
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("groups = 3", "alexnet.groups = 3: it must be int, from 1 to 2"),
        ('groups = "two"', "alexnet.groups = 'two': it must be int"),
        ("groups = 1.5", "alexnet.groups = 1.5: it must be int"),
        ("lrn = 3", "alexnet.lrn = 3: it must be bool"),
        ("widths = [1, 2, 0, 4, 5]", "alexnet.widths = (1, 2, 0, 4, 5): it must be list of int, at least 1 each"),
        ("group = 1", "alexnet has no setting 'group'. Did you mean 'groups'"),
    ],
)
def test_settings_of_a_toml_file_are_checked(settings: str, message: str, tmp_path: Path) -> None:
    """An encoder's setting of a registered checkpoint has the type and range that the encoder declares."""
    (tmp_path / "moco.toml").write_text(f'[x]\nurl = "x.pth"\nencoder = "alexnet"\nsettings = {{ {settings} }}')
    (found,) = registered_checkpoints([replace(PLUGINS["method"]["moco"], path=tmp_path / "moco.py")])
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        with_encoder_plugin(found, PLUGINS)
    assert str(refused.value).startswith("moco@x: ")


def test_one_checkpoint_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """`list METHOD@NAME` shows encoder, input, published numbers and address; a misspelt name is answered."""
    assert main(["list", "moco@v2_800ep"]) == 0
    out = capsys.readouterr().out
    for part in ("moco@v2_800ep (checkpoint)", "encoder    resnet50", "linear conv5 71.1 %", "https://", "224 pixels"):
        assert part in out
    assert main(["list", "moco@v2_80ep"]) == 2
    assert "Did you mean 'moco@v2_800ep'" in capsys.readouterr().err
