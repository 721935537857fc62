"""What plugins of every kind promise about their settings: each number has a range, and the range is enforced."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen, MultipleOf

from sslbench.bench.errors import UserError
from sslbench.bench.plugins.discovery import FOLDERS, Plugin
from sslbench.bench.plugins.ranges import range_in_words
from tests.builders import plugins_under_test

PLUGINS = [plugin for kind in FOLDERS for plugin in plugins_under_test(kind).values()]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_number_has_a_range_that_is_enforced(plugin: Plugin) -> None:
    """Values next to a setting's range are refused by name, and the plugin's own values are within it.

    These are the default and the values for presets. Every int and float declares a range.
    """
    for setting in plugin.settings.values():
        assert range_in_words(setting.kind) or not holds_numbers(setting.kind), setting.name
        for text in texts_outside(setting.kind):
            with pytest.raises(UserError, match=rf"\b{plugin.name}\.{setting.name}\b"):
                setting.parse(text, plugin.name)
        if setting.known:
            setting.check(setting.default, plugin.name)
    presets = plugin.constants.get("presets") or {}
    for values in (plugin.constants.get("short_run_settings") or {}, *presets.values()):
        for name in values.keys() & plugin.settings.keys():
            plugin.settings[name].check(values[name], plugin.name)


def holds_numbers(kind: Any) -> bool:
    """Whether values of an annotated type are, or contain, an int or float that may vary freely."""
    if get_origin(kind) is Literal:
        return False
    return kind in (int, float) or any(map(holds_numbers, get_args(kind)))


def texts_outside(kind: Any) -> Iterator[str]:
    """Texts of values that are just outside the range of an annotated type, one or more per limit."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType, tuple):
        yield from texts_outside(inner[0])
    elif origin is Literal:
        yield "no such choice"
    elif origin is Annotated:
        for limit in inner[1:]:
            for bound in limit if isinstance(limit, Interval) else [limit]:
                yield text_outside(bound, inner[0])
        yield from texts_outside(inner[0])
    elif kind is float:
        yield from ("nan", "inf")


def text_outside(limit: Any, kind: type) -> str:
    """The value of type ``kind`` that is closest to a limit and not allowed by it."""
    match limit:
        case Gt(gt=bound) | Lt(lt=bound):
            return str(kind(bound))
        case Ge(ge=bound):
            return str(bound - 1 if kind is int else math.nextafter(bound, -math.inf))
        case Le(le=bound):
            return str(bound + 1 if kind is int else math.nextafter(bound, math.inf))
        case MultipleOf(multiple_of=step):
            return str(1000 * step + 1)
        case MinLen(min_length=length):
            return ",".join(["2"] * (length - 1))
    raise NotImplementedError(limit)
