"""Parsed JSON turned into data classes, checked against their type annotations.

A file that a user edited or that a crash damaged must be refused with a reason, not fail later in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NOT_STORED: Mapping[str, bool] = {"stored": False}
"""Metadata of a data class's field that JSON does not hold."""

Reader = Callable[[Any], Any]


def stored_fields(kind: Any) -> list[Field[Any]]:
    """The fields of a data class that JSON holds."""
    return [field for field in fields(kind) if field.metadata.get("stored", True)]


@cache
def reader_of(kind: Any) -> Reader:
    """A function from a JSON value to a value of this type; it raises ValueError with the reason if it is none.

    JSON has no NaN: a plain number reads null as NaN. Keys that a data class does not know are ignored.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _data_class(kind)
    if origin in (Union, UnionType):
        (inner,) = (reader_of(part) for part in arguments if part is not NoneType)
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        return lambda value: _require_type(value, value in arguments, " or ".join(map(repr, arguments)))
    if origin is tuple:
        item = reader_of(arguments[0])
        return lambda value: tuple(item(part) for part in _require_type(value, isinstance(value, list), "a list"))
    if origin is Mapping:
        return _mapping(arguments[1])
    return _SCALARS[kind]


_SCALARS: dict[Any, Reader] = {
    Any: lambda value: value,
    str: lambda value: _require_type(value, isinstance(value, str), "text"),
    bool: lambda value: _require_type(value, isinstance(value, bool), "true or false"),
    int: lambda value: _require_type(value, type(value) is int, "a whole number"),
    float: lambda value: (
        math.nan if value is None else _require_type(value, isinstance(value, int | float), "a number")
    ),
}


def _require_type(value: Any, right: bool, expected: str) -> Any:
    """The value; raises ValueError if it is not what is expected."""
    if right:
        return value
    raise ValueError(f"is {str(value)[:40]!r}, not {expected}")


def _mapping(kind: Any) -> Reader:
    """A reader of JSON objects whose values are all of one type."""
    inner = reader_of(kind)

    def read(value: Any) -> dict[str, Any]:
        if _require_type(value, isinstance(value, dict), "an object") and kind is not Any:
            return {name: _read_part(name, inner, part) for name, part in value.items()}
        return value  # type: ignore[no-any-return]

    return read


def _data_class(kind: Any) -> Reader:
    """A reader of JSON objects that have a key for each field of the data class."""
    hints = get_type_hints(kind)
    stored = stored_fields(kind)
    readers = {field.name: reader_of(hints[field.name]) for field in stored}
    required = [field.name for field in stored if field.default is field.default_factory is MISSING]

    def read(value: Any) -> Any:
        _require_type(value, isinstance(value, dict), "an object")
        if missing := [name for name in required if name not in value]:
            raise ValueError(f"has no {', '.join(missing)}")
        return kind(**{name: _read_part(name, readers[name], part) for name, part in value.items() if name in readers})

    return read


def _read_part(name: str, reader: Reader, value: Any) -> Any:
    """What a reader makes of a part; its error names the part."""
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
