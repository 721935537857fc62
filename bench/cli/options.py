"""The options of the command line, and what they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, did_you_mean
from ..plugins import discovery as plugins
from ..training.recipe import PRESETS

if TYPE_CHECKING:
    from ..planning.plan import Request

EXAMPLES = """\
examples:
  python run_bench.py --methods rotnet,jigsaw,moco --protocol linear
  python run_bench.py --methods all --protocol linear,knn --preset smoke
  python run_bench.py --methods rotnet --dataset folder --data-dir pictures/ --seeds 0,1,2
  python run_bench.py --methods rotnet --set rotnet.angles=0,180 --dry-run
  python run_bench.py list moco            what a plugin is and which settings it has
  python run_bench.py --methods mocov3@rn50_300ep,file/my.safetensors,rotnet --dataset folder --data-dir pictures/
  python run_bench.py list checkpoints     weights that others trained; `fetch NAME` downloads them ahead
  python run_bench.py pretrain --methods rotnet
  python run_bench.py show rotnet          a picture of its pretext task
  python run_bench.py report --results results/cifar10-jpeg --html
  python run_bench.py map --methods rotnet,moco     the test images as the encoders see them
  python run_bench.py compare results/baseline results/local   did anything get worse?

Interrupt with Ctrl-C at any time: what is measured stays, and the same command goes on from there.
"""


ABOUT = {
    "run": "Self-supervised methods on the same data, encoder, budget and probes: one command, one table.",
    "map": "Where the test images lie in each encoder's features, drawn by t-SNE.",
    "export": "Encoders pretrained here as torchvision or timm would write them, each with a model card.",
    "show": "One picture of a method's pretext task on test images: what goes in, what is asked, what comes out.",
}


class Parser(argparse.ArgumentParser):
    """argparse with one line for an error, and the nearest option for a misspelt one."""

    def error(self, message: str) -> Any:
        options = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        prefix = "unrecognized arguments: "
        if message.startswith(prefix) and message.startswith(f"{prefix}--"):
            word = message.removeprefix(prefix).split()[0].split("=")[0]
            message = f"{word}: there is no such option. {did_you_mean(word, options)}"
        raise UserError(message)


def comma(text: str) -> tuple[str, ...]:
    """Comma-separated words."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers of at least 0."""
    if not all(word.isdigit() for word in comma(text)) or not comma(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 0,1,2")
    return tuple(map(int, comma(text)))


def few(text: str) -> int:
    """A whole number from 1 to 32."""
    if not text.isdigit() or not 1 <= int(text) <= 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 32")
    return int(text)


def parser(verb: str) -> Parser:
    """The options of ``run``, ``pretrain``, ``show`` and ``map``."""
    made = Parser(
        prog="run_bench.py" + (f" {verb}" if verb != "run" else ""),
        description=ABOUT.get(verb, ABOUT["run"]),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_subject(made, verb)
    add_data(made)
    add_manner(made, verb)
    return made


def add_subject(made: Parser, verb: str) -> None:
    """Methods, protocols, the encoder and what varies them."""
    what = made.add_argument_group("what to compare" if verb != "show" else "what to show")
    if verb == "show":
        what.add_argument("method", metavar="METHOD", help="a method by name (see `list`)")
        what.add_argument("--images", type=few, default=6, metavar="N", help="rows of the picture (default 6)")
        what.add_argument(
            "--out", type=Path, metavar="FILE", help="the picture (default figures/show-METHOD.png in --results)"
        )
    else:
        what.add_argument(
            "--methods",
            type=comma,
            required=True,
            metavar="A,B",
            help="methods by name, or all (see `list`); METHOD@CHECKPOINT, timm/NAME, torchvision/NAME or file/PATH "
            "for weights trained elsewhere (see `list checkpoints`)",
        )
    if verb == "map":
        what.add_argument(
            "--taps", type=comma, default=("conv5",), metavar="A,B", help="layers to read (default conv5)"
        )
    if verb == "run":
        what.add_argument(
            "--protocol",
            "--protocols",
            type=comma,
            default=("linear",),
            metavar="A,B",
            help="questions to ask: linear, knn, ... or all (default linear)",
        )
        what.add_argument("--taps", type=comma, metavar="A,B", help="layers to read, or all (default conv4,conv5)")
        what.add_argument(
            "--variant",
            action="append",
            default=[],
            metavar="LABEL",
            help="of a protocol that compares settings only this one, e.g. negatives=16; may be given again",
        )
    what.add_argument(
        "--encoder",
        default="convnet",
        metavar="NAME",
        help="convnet, alexnet, nin, resnet18, resnet50, timm/<name> or torchvision/<name> (default convnet)",
    )
    what.add_argument(
        "--encoder-from",
        metavar="MODULE:FUNCTION",
        help="a network of your own, as the function returns it; --taps then names its modules, layer3,layer4 say",
    )
    what.add_argument(
        "--seeds",
        type=numbers,
        default=(0,),
        metavar="0,1",
        help="the first is shown (default 0)"
        if verb == "show"
        else "each pretrains anew; intervals then span seeds (default 0)",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PLUGIN.KEY=VALUE",
        help="change a setting, e.g. moco.temperature=0.2 or recipe.learning_rate=0.001",
    )


def add_data(made: Parser) -> None:
    """Data sets and where they are."""
    data = made.add_argument_group("on what")
    data.add_argument(
        "--dataset",
        default="synthetic",
        metavar="NAME",
        help="synthetic, cifar10, cifar100, stl10, imagenet, folder or clips (default synthetic)",
    )
    data.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where the data are: DIR/train/<class>/... and DIR/test/<class>/..., or a zip or tar of it",
    )
    data.add_argument("--pretrain-dataset", metavar="NAME", help="pretrain on other data than the protocols see")
    data.add_argument("--pretrain-data-dir", metavar="DIR", help="where those are")
    data.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side to which pictures are brought (default: the data's own)"
    )
    data.add_argument("--skip-unreadable", action="store_true", help="leave out pictures that cannot be read")


def add_manner(made: Parser, verb: str) -> None:
    """Budget, device and files."""
    how = made.add_argument_group("how")
    how.add_argument(
        "--preset",
        default="small",
        metavar="NAME",
        help="budget in encoder views: "
        + ", ".join(f"{name} {p['views']:,}" for name, p in PRESETS.items())
        + " (default small)",
    )
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: a GPU where there is one)")
    how.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="auto: bf16 where the device computes in it",
    )
    how.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="a method, protocol, data set or encoder in a file of your own",
    )
    how.add_argument(
        "--results",
        type=Path,
        default=Path("results/local"),
        metavar="DIR",
        help="where records, tables and figures go (default results/local)",
    )
    if verb != "show":
        how.add_argument("--overwrite", action="store_true", help="measure again what is there already")
    how.add_argument("--dry-run", action="store_true", help="show the cells and an estimate of time and disk, and stop")
    if verb == "run":
        how.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            metavar="METHOD=FILE",
            help="take a method's encoder from a file",
        )
    elif verb == "pretrain":
        how.add_argument(
            "--bundle", action="store_true", help="also put the encoders into methods/pretrained/, in half precision"
        )


def request_of(options: argparse.Namespace) -> Request:
    """Parsed options as a request."""
    from ..planning.plan import Request

    files = {}
    for assignment in getattr(options, "checkpoint", []):
        method, equals, file = assignment.partition("=")
        if not equals:
            raise UserError(f"--checkpoint {assignment}: write it as method=file.")
        files[method] = file
    assignments = list(options.set)
    if options.skip_unreadable:
        known = plugins.plugins("dataset", tuple(options.plugin))
        named = dict.fromkeys((options.dataset, options.pretrain_dataset or options.dataset))
        takers = [name for name in named if name in known and "skip_unreadable" in known[name].settings]
        assignments += [f"{name}.skip_unreadable=true" for name in takers or named]
    return Request(
        methods=(options.method,) if "method" in options else options.methods,
        protocols=getattr(options, "protocol", None),
        dataset=options.dataset,
        data_dir=options.data_dir,
        pretrain_dataset=options.pretrain_dataset,
        pretrain_data_dir=options.pretrain_data_dir,
        image_size=options.image_size,
        encoder=f"own/{options.encoder_from}" if options.encoder_from else options.encoder,
        taps=getattr(options, "taps", None),
        preset=options.preset,
        seeds=options.seeds[:1] if "method" in options else options.seeds,
        device=options.device,
        precision=options.precision,
        variants=tuple(getattr(options, "variant", ())),
        assignments=tuple(assignments),
        checkpoints=files,
        plugin_files=tuple(options.plugin),
        results=options.results,
        overwrite=getattr(options, "overwrite", False),
    )
