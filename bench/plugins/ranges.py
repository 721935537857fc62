"""Types and ranges of settings, as a plugin writes them into its signature.

``temperature: Positive = 0.07`` or ``dim: Annotated[int, Ge(2)] = 128``: the annotation says which values are allowed.
A wrong value is refused before any work, and ``list NAME`` shows the range. Annotations are read from the source
text, so they may contain only the names below and literals.
"""

from __future__ import annotations

import ast
import math
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen, MultipleOf

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
Pooling = Literal["average", "max", "mean", "token", "token+mean"]
"""How a tap is pooled to one vector; see ``FeatureSpec``."""

_NAMES: dict[str, Any] = {
    "Pooling": Pooling,
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "tuple": tuple,
    "Annotated": Annotated,
    "Literal": Literal,
    "Count": Count,
    "Positive": Positive,
    "NonNegative": NonNegative,
    "Share": Share,
    "PositiveShare": PositiveShare,
    "ShareBelowOne": ShareBelowOne,
} | {limit.__name__: limit for limit in (Ge, Gt, Interval, Le, Lt, MinLen, MultipleOf)}
_SYNTAX = (
    *(ast.Expression, ast.Subscript, ast.Name, ast.Tuple, ast.Constant, ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
    *(ast.Call, ast.keyword, ast.Load),
)


@cache
def read_annotation(text: str) -> Any:
    """The type that an annotation's source text stands for; raises ValueError for other names or computed parts."""
    tree = ast.parse(text, mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if names - _NAMES.keys() or not all(isinstance(node, _SYNTAX) for node in ast.walk(tree)):
        raise ValueError(f"{text!r} is no type of a setting")
    return eval(compile(tree, text, "eval"), {"__builtins__": {}}, _NAMES)


def parse_value(text: str, kind: Any) -> Any:
    """``text`` from a command line as the type ``kind``; raises ValueError where it is not of this type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return parse_value(text, inner[0])
    if origin in (Union, types.UnionType):
        return None if text.lower() == "none" and type(None) in inner else parse_value(text, inner[0])
    if origin is Literal:
        return next(choice for choice in inner if text == str(choice)) if text in map(str, inner) else _refuse(text)
    if origin is tuple:
        return tuple(parse_value(part.strip(), inner[0]) for part in text.strip("()[]").split(",") if part.strip())
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        return words[text.lower()] if text.lower() in words else _refuse(text)
    if kind is int:
        return int(text.replace("_", ""))
    if kind in (float, str):
        return kind(text)
    return _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)


def violation(value: Any, kind: Any) -> str | None:
    """What ``value`` must be, in words, where it is not in the range that ``kind`` declares; None where it is."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else violation(value, inner[0])
    if origin is Literal:
        return None if value in inner else f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return next((f"{words} each" for part in value if (words := violation(part, inner[0]))), None)
    if origin is Annotated:
        if words := violation(value, inner[0]):
            return words
        return None if all(holds(value, limit) for limit in inner[1:]) else range_in_words(kind)
    if kind is float and not math.isfinite(value):
        return "a finite number"
    return None


def holds(value: Any, limit: Any) -> bool:
    """Whether a value is within one limit of ``annotated_types``; NaN and infinities are within none."""
    if isinstance(limit, MinLen):
        return len(value) >= limit.min_length
    if isinstance(value, float) and not math.isfinite(value):
        return False
    match limit:
        case Interval():
            return all(holds(value, bound) for bound in limit)
        case Gt(gt=low):
            return bool(value > low)
        case Ge(ge=low):
            return bool(value >= low)
        case Lt(lt=high):
            return bool(value < high)
        case Le(le=high):
            return bool(value <= high)
        case MultipleOf(multiple_of=step):
            return bool(value % step == 0)
    raise ValueError(f"{limit} is no limit of a setting")


def type_in_words(kind: Any) -> str:
    """A type as a person would say it: "float", "one of frozen, tuned", "list of int"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"list of {type_in_words(inner[0])}"
    return type_in_words(inner[0]) if inner else str(kind.__name__)


def range_in_words(kind: Any) -> str:
    """The range that a type declares, such as "above 0, at most 1"; "" where every value is allowed."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        words = range_in_words(inner[0])
        return f"{words}, or none" if words else ""
    if origin is tuple:
        words = range_in_words(inner[0])
        return f"{words} each" if words else ""
    if origin is not Annotated:
        return ""
    parts = [range_in_words(inner[0]), *(part for limit in inner[1:] for part in _limit_in_words(limit))]
    return ", ".join(filter(None, parts))


def _limit_in_words(limit: Any) -> Iterator[str]:
    match limit:
        case Interval(ge=low, le=high) if low is not None and high is not None:
            yield f"from {low} to {high}"
        case Interval(ge=low, lt=high) if low is not None and high is not None:
            yield f"from {low} to below {high}"
        case Interval():
            for bound in limit:
                yield from _limit_in_words(bound)
        case Gt(gt=low):
            yield f"above {low}"
        case Ge(ge=low):
            yield f"at least {low}"
        case Lt(lt=high):
            yield f"below {high}"
        case Le(le=high):
            yield f"at most {high}"
        case MultipleOf(multiple_of=step):
            yield f"a multiple of {step}"
        case MinLen(min_length=length):
            yield f"at least {length} value{'s' * (length > 1)}"
