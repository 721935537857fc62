"""The command ``new``: writes a working method, protocol, encoder or data set to start from."""

from __future__ import annotations

import ast
import keyword
import re
import shlex
from pathlib import Path
from string import Template

from ..api.request import path_of
from ..errors import UserError, did_you_mean, program_name
from ..plugins.discovery import FOLDERS, class_name_for, plugin_summaries
from .options import Parser

TEMPLATES = Path(__file__).parent / "templates"
TRIAL_OPTIONS = {  # options that run a new plugin of each kind
    "method": "--methods {name},random",
    "protocol": "--methods rotnet,random --protocol {name}",
    "dataset": "--methods rotnet,random --dataset {name}",
    "encoder": "--methods rotnet,random --encoder {name}",
}
RESERVED = {"all", "checkpoints", "recipe"}  # words with another meaning in --methods, `list` and --set


def new_command(words: list[str]) -> int:
    """Writes ``NAME.py`` from the template of its kind, and prints the command that tries it."""
    parser = Parser("new", description="Writes a working plugin into a file, to start from.")
    parser.add_argument("kind", metavar="KIND", help=", ".join(FOLDERS))
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and underscores")
    parser.add_argument(
        "--out", type=path_of, default=Path(), metavar="DIR", help="folder of the file (default: this folder)"
    )
    options = parser.parse_args(words)
    if options.kind not in FOLDERS:
        raise UserError(f"new: unknown kind {options.kind!r}. {did_you_mean(options.kind, FOLDERS)}")
    check_name(options.name)
    text = render_template(options.kind, options.name)
    file = options.out / f"{options.name}.py"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{file}: exists already; choose another name or --out.") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); choose another --out.") from None
    trial = TRIAL_OPTIONS[options.kind].format(name=options.name)
    print(f"wrote {file}; try it with")
    print(f"  {program_name()} {trial} --plugin {shlex.quote(str(file))} --preset smoke")
    return 0


def check_name(name: str) -> None:
    """Raises UserError unless a new plugin can have this name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(
            f"new: {name!r} is not a valid name; use lower-case letters, digits and underscores, such as my_idea."
        )
    if name in RESERVED:
        raise UserError(f"new: {name!r} has another meaning on the command line; choose another name.")
    for kind in FOLDERS:
        if name in plugin_summaries(kind):
            raise UserError(f"new: there is a {kind} called {name!r} already; choose another name.")


def render_template(kind: str, name: str) -> str:
    """The source text of a new plugin. Raises UserError if its class would have the name of something it imports."""
    template = Template((TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8"))
    text = template.substitute(name=name, Class=class_name_for(name))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    if class_name_for(name) in imported:
        raise UserError(f"new: a class {class_name_for(name)} is used by every {kind}; choose another name.")
    return text
