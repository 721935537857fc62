"""Settings: texts after --set become values of the declared type."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.plugins.settings import Setting


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
def test_settings_are_parsed_by_their_annotation(annotation: str, text: str, value: Any) -> None:
    """A setting's text becomes a value of the declared type."""
    assert Setting("x", annotation, None).parse(text, "plugin") == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [("int", "1.5"), ("float", "x"), ("bool", "maybe"), ("Literal['a', 'b']", "c"), ("tuple[int, ...]", "a")],
)
def test_a_value_of_another_type_is_refused(annotation: str, text: str) -> None:
    """A text that is not of the type is a UserError that shows the default as an example."""
    with pytest.raises(UserError, match=r"--set plugin\.x=.*for example 7"):
        Setting("x", annotation, 7).parse(text, "plugin")
