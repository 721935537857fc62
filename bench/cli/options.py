"""The options of the command line, and the request that they stand for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ..api.request import PRECISIONS, comma_separated, make_request, method_words, path_of
from ..errors import UserError, did_you_mean, program_name
from ..plugins.discovery import plugin_files
from ..training.recipe import PRESETS

if TYPE_CHECKING:
    from ..planning.plan import Request

EXAMPLES = (  # words after the program's name, and what they do
    ("--methods rotnet,jigsaw,moco --protocol linear", ""),
    ("--methods all --protocol linear,knn --preset smoke", ""),
    ("--methods rotnet --dataset folder --data-dir pictures/ --seeds 0,1,2", ""),
    ("--methods rotnet --set rotnet.angles=0,180 --dry-run", ""),
    ("run grid.toml", "a sweep in a file; `status grid.toml` says what is measured"),
    ("choose --data-dir pictures/ --minutes 10", "which encoder is best for your pictures?"),
    ("list moco", "what a plugin is, and its settings"),
    ("--methods mocov3@rn50_300ep,file/my.safetensors,rotnet --dataset folder --data-dir pictures/", ""),
    ("list checkpoints", "published weights; `fetch NAME` downloads them"),
    ("new method my_idea", "a file to start from: a method, protocol, encoder or dataset"),
    ("pretrain --methods rotnet", ""),
    ("show rotnet", "a picture of its pretext task"),
    ("report --results results/cifar10-jpeg --html", ""),
    ("map --methods rotnet,moco", "the test images by the similarity of their features"),
    ("compare results/baseline results/local", "did anything get worse?"),
)

NO_METHODS = "--methods: name what to compare, for example --methods rotnet,moco; or give a .toml file."
WITH_FILE = ("run", "status")  # commands that take their options from a file too

DESCRIPTIONS = {
    "status": "Shows which cells are measured, failed, being pretrained or missing. Exit code 0: all are measured.",
    "run": "Self-supervised methods on the same data, encoder, budget and probes: one command, one table.",
    "pretrain": "Pretrains encoders without measuring anything.",
    "map": "Draws a map of the test images by the similarity of each encoder's features (t-SNE).",
    "export": "Writes encoders pretrained here in torchvision's or timm's format, each with a model card.",
    "show": "Draws a method's pretext task on test images: what goes in, what is asked, and what comes out.",
}


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, with the nearest option for a misspelt one."""

    def __init__(self, command: str, **settings: Any) -> None:
        program = program_name() if command == "run" else f"{program_name()} {command}"
        super().__init__(prog=program, allow_abbrev=False, **settings)

    def parse_args(self, words: Sequence[str], **settings: Any) -> Any:  # type: ignore[override]
        if is_asked_by_shell():
            from .completion import complete

            complete(self)
        for word in words:
            if word.startswith("--") and word.endswith("=--"):  # which argparse takes for no value at all
                self.error(f"argument {word.removesuffix('=--')}: expected a value, not '--'")
        return super().parse_args(words, **settings)

    def error(self, message: str) -> Any:
        options = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        prefix = "unrecognized arguments: "
        if message.startswith(f"{prefix}--"):
            word = message.removeprefix(prefix).split()[0].split("=")[0]
            message = f"{word}: there is no such option. {did_you_mean(word, options)}"
        raise UserError(message)


def is_asked_by_shell() -> bool:
    """Whether the shell started this program to learn how its line can go on, which needs argcomplete."""
    return "_ARGCOMPLETE" in os.environ and find_spec("argcomplete") is not None


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as "0,1,2", each at least 0."""
    words = comma_separated(text)
    if not words or not all(word.isdigit() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 0,1,2")
    return tuple(map(int, words))


def row_count(text: str) -> int:
    """A whole number from 1 to 32."""
    if not text.isdigit() or not 1 <= int(text) <= 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 32")
    return int(text)


def plugin_names(kind: str) -> str:
    """The names of the built-in plugins of a kind, for help texts."""
    return ", ".join(path.stem for path in plugin_files(kind))


def examples() -> str:
    """The examples below ``--help``, with the program's name as it was started."""
    lines = [f"  {program_name()} {words}" + f"     {what}".rstrip() for words, what in EXAMPLES]
    end = "Press Ctrl-C to stop at any time: all finished measurements are saved, and the same command resumes."
    return "\n".join(["examples:", *lines, "", end])


def build_parser(command: str) -> Parser:
    """The options of ``run``, ``pretrain``, ``export``, ``show`` and ``map``."""
    parser = Parser(
        command,
        description=DESCRIPTIONS[command],
        epilog=examples(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if command == "run":
        parser.add_argument("--version", action="version", version=f"sslbench {__version__}")
    add_selection_options(parser, command)
    add_data_options(parser, command)
    add_run_options(parser, command)
    return parser


def parse_given_options(command: str, words: list[str]) -> argparse.Namespace:
    """Only the options that are on the command line, without defaults."""
    parser = build_parser(command)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given: argparse.Namespace = parser.parse_args(words)
    return given


def add_selection_options(parser: Parser, command: str) -> None:
    """Options that choose methods, protocols, the encoder and their settings."""
    group = parser.add_argument_group("what to compare" if command != "show" else "what to show")
    if command in WITH_FILE:
        group.add_argument(
            "file",
            nargs="?",
            type=path_of,
            metavar="FILE",
            help="a .toml file with these options, and lists of values in [sweep]; options given here replace its own",
        )
    if command == "show":
        group.add_argument("method", metavar="METHOD", help="a method by name (see `list`)")
        group.add_argument("--images", type=row_count, default=6, metavar="N", help="rows of the picture (default 6)")
        group.add_argument(
            "--out",
            type=path_of,
            metavar="FILE",
            help="the picture (default figures/show-METHOD.png in --results, "
            "with settings that are not the default in its name)",
        )
    else:
        group.add_argument(
            "--methods",
            type=method_words,
            required=command not in WITH_FILE,
            metavar="A,B",
            help="methods by name, or all (see `list`); METHOD@CHECKPOINT, timm/NAME, torchvision/NAME or file/PATH "
            "for weights trained elsewhere (see `list checkpoints`)",
        )
    if command == "map":
        group.add_argument(
            "--taps", type=comma_separated, default=("conv5",), metavar="A,B", help="layers to read (default conv5)"
        )
    if command in WITH_FILE:
        group.add_argument(
            "--protocol",
            "--protocols",
            type=comma_separated,
            default=("linear",),
            metavar="A,B",
            help=f"{plugin_names('protocol')}, or all (default linear)",
        )
        group.add_argument(
            "--taps", type=comma_separated, metavar="A,B", help="layers to read, or all (default conv4,conv5)"
        )
        group.add_argument(
            "--variant",
            action="append",
            default=[],
            metavar="LABEL",
            help="run only this variant of a protocol that compares settings, e.g. negatives=16; may be repeated",
        )
    group.add_argument(
        "--encoder",
        metavar="NAME",
        help=f"{plugin_names('encoder')} (default convnet); timm/NAME and torchvision/NAME for their networks",
    )
    group.add_argument(
        "--encoder-from",
        metavar="MODULE:FUNCTION",
        help="a network that your function returns; --taps then names its modules, for example layer3,layer4",
    )
    group.add_argument(
        "--seeds",
        type=whole_numbers,
        default=(0,),
        metavar="0,1",
        help="the first is shown (default 0)"
        if command == "show"
        else "pretrain once per seed; intervals are then over seeds (default 0)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PLUGIN.KEY=VALUE",
        help="change a setting, e.g. moco.temperature=0.2 or recipe.learning_rate=0.001",
    )


def add_data_options(parser: Parser, command: str) -> None:
    """Options for data sets and where they are."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        default="synthetic",
        metavar="NAME",
        help=f"{plugin_names('dataset')} (default synthetic)",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where the data are: DIR/train/<class>/... and DIR/test/<class>/..., or a zip or tar file of it",
    )
    group.add_argument("--pretrain-dataset", metavar="NAME", help="pretrain on other data than the protocols use")
    group.add_argument("--pretrain-data-dir", metavar="DIR", help="where the data to pretrain on are")
    group.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="resize images to this side (default: the data's own)"
    )
    group.add_argument("--skip-unreadable", action="store_true", help="leave out images that cannot be read")
    if command in WITH_FILE:
        group.add_argument(
            "--limit",
            type=int,
            metavar="N",
            help="use at most N images of each split, as many of each class, for a quick look; pretraining uses all",
        )


def add_run_options(parser: Parser, command: str) -> None:
    """Options for budget, device and files."""
    group = parser.add_argument_group("how")
    group.add_argument(
        "--preset",
        default="small",
        metavar="NAME",
        help="budget in encoder views: "
        + ", ".join(f"{name} {p['views']:,}" for name, p in PRESETS.items())
        + " (default small)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: a GPU if there is one)")
    group.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="auto: bf16 if the device computes in it",
    )
    add_plugin_option(group)
    group.add_argument(
        "--results",
        type=path_of,
        default=Path("results/local"),
        metavar="DIR",
        help="where records, tables and figures go (default results/local)",
    )
    if command != "show":
        group.add_argument("--overwrite", action="store_true", help="measure again what has been measured")
    group.add_argument("--debug", action="store_true", help="stop at the first error of a plugin, with its traceback")
    group.add_argument("--dry-run", action="store_true", help="only show the cells and an estimate of time and disk")
    add_output_options(group)
    if command in WITH_FILE:
        group.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            metavar="METHOD=FILE",
            help="load a method's encoder from a file",
        )
        group.add_argument(
            "--no-references",
            dest="references",
            action="store_false",
            help="do not also measure floor and ceiling (random, supervised), where that needs no training",
        )
    elif command == "pretrain":
        group.add_argument(
            "--bundle", action="store_true", help="also copy the encoders to methods/pretrained/, in half precision"
        )


def add_output_options(parser: argparse._ActionsContainer) -> None:
    """Options that say how much is shown while a command works."""
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quiet", action="store_true", help="show only errors and results, no progress")
    amount.add_argument("--verbose", action="store_true", help="also show each step: data, features, probes")
    parser.add_argument(
        "--log-file", type=path_of, metavar="FILE", help="append all messages to a file, with details and the time"
    )


def output_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_output_options` as arguments of `log_output`."""
    return {"quiet": options.quiet, "verbose": options.verbose, "file": options.log_file}


def add_plugin_option(parser: argparse._ActionsContainer) -> None:
    """The option ``--plugin``."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        type=os.path.expanduser,
        help="a file with your own method, protocol, data set or encoder; may be repeated",
    )


def request_from(options: argparse.Namespace) -> Request:
    """The request that parsed options stand for."""
    words = {**vars(options), "settings": options.set}
    if "method" in words:  # the command shows one method and one seed
        words |= {"methods": (options.method,), "seeds": options.seeds[:1]}
    return make_request(words)
