"""The command ``choose``: which encoder is best for a folder of pictures?"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from ..api.choose import Choice, describe_schedule, each_message_once, measure_choice, request_to_choose
from ..api.request import PRECISIONS, comma_separated, method_words, path_of
from ..progress import log_output, show_progress
from .options import Parser, add_data_options, add_output_options, add_plugin_option, examples, output_settings

log = logging.getLogger(__name__)


def choose_command(words: list[str]) -> int:
    """Measures candidates within a time limit, and prints a table and one sentence of advice."""
    options = build_choose_parser().parse_args(words)
    with log_output(**output_settings(options)), each_message_once():
        return choose_and_print(options)


def choose_and_print(options: argparse.Namespace) -> int:
    """Makes the choice that parsed options ask for; returns the exit code."""
    given = {**vars(options), "settings": options.set}
    request = request_to_choose(given, options.methods)
    if options.methods is None:
        log.info("candidates that are ready on this machine: %s", ", ".join(request.methods))
    if options.dry_run:
        print(describe_schedule(request))
        return 0
    found: list[Choice] = []

    def keep_choice() -> Any:
        found.append((yield from measure_choice(request, options.minutes)))

    for _ in show_progress(keep_choice()):
        pass
    (choice,) = found
    print(choice)
    print(f"records  {choice.results / 'records'}")
    return 0


def build_choose_parser() -> Parser:
    """The options of ``choose``; those that ``run`` has too mean the same."""
    parser = Parser(
        "choose",
        description="Finds the best encoder for a folder of pictures within a time limit: all candidates on few "
        "pictures with few labels, the better half on twice as many, the best five on all.",
        epilog=examples(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("what to choose from")
    group.add_argument(
        "--methods",
        type=method_words,
        metavar="A,B",
        help="candidates as in `run`, such as rotnet, moco@v2_800ep, all@published, timm/NAME or file/PATH; "
        "an encoder's name is that encoder, untrained (default: all whose weights are on this machine)",
    )
    group.add_argument(
        "--minutes", type=float, default=10.0, metavar="N", help="the time limit of all rounds (default 10)"
    )
    group.add_argument("--taps", type=comma_separated, metavar="A", help="the layer to read (default: the last)")
    group.add_argument("--encoder", metavar="NAME", help="of methods that are pretrained here (default convnet)")
    group.add_argument("--encoder-from", metavar="MODULE:FUNCTION", help="a network that your function returns")
    group.add_argument("--set", action="append", default=[], metavar="PLUGIN.KEY=VALUE", help="change a setting")
    add_data_options(parser, "choose")
    parser.set_defaults(dataset="folder")
    how = parser.add_argument_group("how")
    how.add_argument("--preset", default="small", metavar="NAME", help="budget of pretraining (default small)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: a GPU if there is one)")
    how.add_argument("--precision", default="auto", choices=PRECISIONS, help="auto: bf16 if the device computes in it")
    add_plugin_option(how)
    how.add_argument("--checkpoint", action="append", default=[], metavar="METHOD=FILE", help="a method's encoder")
    how.add_argument("--results", type=path_of, default=Path("results/local"), metavar="DIR", help="where records go")
    how.add_argument("--dry-run", action="store_true", help="only show the candidates and the rounds")
    how.add_argument("--debug", action="store_true", help="stop at the first error of a plugin, with its traceback")
    add_output_options(how)
    return parser
