"""Settings as a plugin's source declares them, and the values that ``--set`` gives them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError, did_you_mean, require
from .ranges import parse_value, range_in_words, read_annotation, type_in_words, violation


@dataclass(frozen=True)
class Setting:
    """One setting as its plugin's source declares it."""

    name: str
    annotation: str
    default: Any
    known: bool = True  # False where the default is computed, and so cannot be read

    @property
    def kind(self) -> Any:
        """The annotated type. Raises UserError where the annotation is not one of a setting."""
        try:
            return read_annotation(self.annotation)
        except (ValueError, SyntaxError, TypeError):
            raise UserError(
                f"setting {self.name}: {self.annotation!r} cannot be read; annotate it with int, float, bool, str, "
                "tuple, Literal or a range such as Annotated[float, Gt(0)], with literal numbers."
            ) from None

    @property
    def allowed(self) -> str:
        """The type and range in words, such as "float, above 0"."""
        return ", ".join(filter(None, (type_in_words(self.kind), range_in_words(self.kind))))

    def parse(self, text: str, owner: str) -> Any:
        """The value that ``text`` stands for. Raises UserError where its type or range is not the declared one."""
        try:
            value = parse_value(text, self.kind)
        except ValueError:
            raise UserError(
                f"--set {owner}.{self.name}={text}: expected {self.allowed}; for example {format_value(self.default)}."
            ) from None
        self.check(value, owner)
        return value

    def check(self, value: Any, owner: str) -> None:
        """Raises UserError where a value is outside of the declared range."""
        words = violation(value, self.kind)
        require(words is None, f"{owner}.{self.name}", value, words or "")


def parse_assignments(
    assignments: Iterable[str], running: Mapping[str, Mapping[str, Setting]], known: set[str]
) -> dict[str, dict[str, Any]]:
    """Reads ``plugin.key=value`` texts: values by plugin and key.

    Raises UserError for a typo, a value of the wrong type or range, or a plugin that does not run.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        owner, dot, key = target.partition(".")
        if not (equals and dot):
            raise UserError(f"--set {assignment}: write it as plugin.key=value, for example moco.temperature=0.2.")
        if owner not in running:
            reason = "does not run here, so the setting would do nothing" if owner in known else "is not known"
            raise UserError(f"--set {assignment}: {owner!r} {reason}. {did_you_mean(owner, running)}")
        if key not in running[owner]:
            raise UserError(f"--set {assignment}: {owner} has no setting {key!r}. {did_you_mean(key, running[owner])}")
        chosen.setdefault(owner, {})[key] = running[owner][key].parse(text, owner)
    return chosen


def check_fields(plugin: Any) -> None:
    """Raises UserError where a field of a dataclass is outside of the range that its annotation declares."""
    for part in fields(plugin):
        kind = Setting(part.name, part.type, None).kind if isinstance(part.type, str) else part.type
        words = violation(getattr(plugin, part.name), kind)
        require(words is None, f"{type(plugin).__name__.lower()}.{part.name}", getattr(plugin, part.name), words or "")


def literal_value(node: ast.expr | None) -> Any:
    """The value of a literal, ``frozenset({...})`` and ``frozenset[str]()`` included; None where it is none."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).partition("[")[0] == "frozenset":
        return frozenset(literal_value(node.args[0]) or ()) if node.args else frozenset()
    try:
        return ast.literal_eval(node) if node else None
    except ValueError:
        return None


def has_literal_value(node: ast.expr | None) -> bool:
    """Whether the value can be read from the text."""
    return literal_value(node) is not None or (isinstance(node, ast.Constant) and node.value is None)


def format_value(value: Any) -> str:
    """A setting's value as one would write it after ``--set``."""
    if isinstance(value, tuple | list):
        return ",".join(map(format_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
