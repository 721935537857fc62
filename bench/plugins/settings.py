"""Settings as a plugin's source declares them, and the values that ``--set`` gives them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError, did_you_mean


@dataclass(frozen=True)
class Setting:
    """One setting as its plugin's source declares it."""

    name: str
    annotation: str
    default: Any
    known: bool = True  # False where the default is computed, and so cannot be read

    def parsed(self, text: str, owner: str) -> Any:
        """The value that ``text`` stands for; raises UserError where it is not of the declared type."""
        try:
            return value_of(text, ast.parse(self.annotation, mode="eval").body)
        except ValueError:
            kind = self.annotation.removeprefix("Literal")
            raise UserError(
                f"--set {owner}.{self.name}={text}: expected {kind}, for example {shown(self.default)}."
            ) from None


def settings_from(
    assignments: Iterable[str], running: Mapping[str, Mapping[str, Setting]], known: set[str]
) -> dict[str, dict[str, Any]]:
    """``plugin.key=value`` texts -> values by plugin and key; UserError for a typo or a plugin that does not run."""
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
        chosen.setdefault(owner, {})[key] = running[owner][key].parsed(text, owner)
    return chosen


def value_of(text: str, annotation: ast.expr) -> Any:
    """``text`` as the annotated type; raises ValueError where it is not."""
    if isinstance(annotation, ast.BinOp):
        if text.lower() == "none":
            return None
        return value_of(text, annotation.left)
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        if ast.unparse(annotation.value) == "Literal":
            for choice in (literal(e) for e in (inner.elts if isinstance(inner, ast.Tuple) else [inner])):
                if text == str(choice):
                    return choice
            raise ValueError
        element = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
        return tuple(value_of(part.strip(), element) for part in text.strip("()[]").split(",") if part.strip())
    match ast.unparse(annotation):
        case "int":
            return int(text.replace("_", ""))
        case "float":
            return float(text)
        case "bool" if text.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            return text.lower() in ("true", "yes", "on", "1")
        case "str":
            return text
    raise ValueError


def literal(node: ast.expr | None) -> Any:
    """The value of a literal, ``frozenset({...})`` included; None where it is none."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "frozenset":
        return frozenset(literal(node.args[0]) or ()) if node.args else frozenset()
    try:
        return ast.literal_eval(node) if node else None
    except ValueError:
        return None


def is_literal(node: ast.expr | None) -> bool:
    """Whether the value can be read from the text."""
    return literal(node) is not None or (isinstance(node, ast.Constant) and node.value is None)


def shown(value: Any) -> str:
    """A setting's value as one would write it after ``--set``."""
    if isinstance(value, tuple | list):
        return ",".join(map(shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
