"""Arguments, progress and exit codes: 0 done, 1 a cell failed, 2 a mistake in what was asked, 130 interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import plugins
from bench.errors import UserError, did_you_mean
from bench.recipe import PRESETS

if TYPE_CHECKING:
    from bench.planning import Plan, Request
    from bench.records import Record

VERBS = ("run", "list", "pretrain", "report")

EXAMPLES = """\
examples:
  python run_bench.py --methods rotnet,jigsaw,moco --protocol linear
  python run_bench.py --methods all --protocol linear,knn --preset smoke
  python run_bench.py --methods rotnet --dataset folder --data-dir pictures/ --seeds 0,1,2
  python run_bench.py --methods rotnet --set rotnet.angles=0,180 --dry-run
  python run_bench.py list moco            what a plugin is and which settings it has
  python run_bench.py pretrain --methods rotnet
  python run_bench.py report --results results/cifar10-jpeg

Interrupt with Ctrl-C at any time: what is measured stays, and the same command goes on from there.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words.pop(0) if words and not words[0].startswith("-") else "run"
    try:
        if verb not in VERBS:
            raise UserError(f"{verb!r} is no verb. {did_you_mean(verb, VERBS)}")
        return {"run": run, "list": show_list, "pretrain": pretrain, "report": report}[verb](words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted:
        print("\nStopped. Everything measured is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


class Interrupted(Exception):
    """Ctrl-C was pressed and the work at hand put away."""


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


def parser(verb: str) -> Parser:
    """The options of ``run`` and ``pretrain``."""
    made = Parser(
        prog="run_bench.py" + (f" {verb}" if verb != "run" else ""),
        description="Self-supervised methods on the same data, encoder, budget and probes: one command, one table.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = made.add_argument_group("what to compare")
    what.add_argument("--methods", type=comma, required=True, metavar="A,B", help="methods by name, or all (see `list`)")
    if verb == "run":
        what.add_argument("--protocol", "--protocols", type=comma, default=("linear",), metavar="A,B", help="questions to ask: linear, knn, ... or all (default linear)")
        what.add_argument("--taps", type=comma, metavar="A,B", help="layers to read (default conv4,conv5)")
    what.add_argument("--encoder", default="convnet", metavar="NAME", help="convnet, alexnet, nin, resnet18, resnet50 or timm/<name> (default convnet)")
    what.add_argument("--seeds", type=numbers, default=(0,), metavar="0,1", help="each pretrains anew; intervals then span seeds (default 0)")
    what.add_argument("--set", action="append", default=[], metavar="PLUGIN.KEY=VALUE", help="change a setting, e.g. moco.temperature=0.2 or recipe.learning_rate=0.001")
    data = made.add_argument_group("on what")
    data.add_argument("--dataset", default="synthetic", metavar="NAME", help="synthetic, cifar10, cifar100, stl10, imagenet or folder (default synthetic)")
    data.add_argument("--data-dir", metavar="DIR", help="where the data are: DIR/train/<class>/... and DIR/test/<class>/..., or a zip or tar of it")
    data.add_argument("--pretrain-dataset", metavar="NAME", help="pretrain on other data than the protocols see")
    data.add_argument("--pretrain-data-dir", metavar="DIR", help="where those are")
    data.add_argument("--image-size", type=int, metavar="PIXELS", help="side to which pictures are brought (default: the data's own)")
    data.add_argument("--skip-unreadable", action="store_true", help="leave out pictures that cannot be read")
    how = made.add_argument_group("how")
    how.add_argument("--preset", default="small", metavar="NAME", help="budget in encoder views: " + ", ".join(f"{name} {p['views']:,}" for name, p in PRESETS.items()) + " (default small)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: a GPU where there is one)")
    how.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 where the device computes in it")
    how.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a method, protocol, data set or encoder in a file of your own")
    how.add_argument("--results", type=Path, default=Path("results/local"), metavar="DIR", help="where records, tables and figures go (default results/local)")
    how.add_argument("--overwrite", action="store_true", help="measure again what is there already")
    how.add_argument("--dry-run", action="store_true", help="show the cells and an estimate of time and disk, and stop")
    if verb == "run":
        how.add_argument("--checkpoint", action="append", default=[], metavar="METHOD=FILE", help="take a method's encoder from a file")
    else:
        how.add_argument("--bundle", action="store_true", help="also put the encoders into methods/pretrained/, in half precision")
    return made


def request_of(options: argparse.Namespace) -> Request:
    """Parsed options as a request."""
    from bench.planning import Request

    files = {}
    for assignment in getattr(options, "checkpoint", []):
        method, equals, file = assignment.partition("=")
        if not equals:
            raise UserError(f"--checkpoint {assignment}: write it as method=file.")
        files[method] = file
    assignments = list(options.set)
    if options.skip_unreadable:
        assignments.append(f"{options.dataset}.skip_unreadable=true")
    return Request(
        methods=options.methods,
        protocols=getattr(options, "protocol", ()),
        dataset=options.dataset,
        data_dir=options.data_dir,
        pretrain_dataset=options.pretrain_dataset,
        pretrain_data_dir=options.pretrain_data_dir,
        image_size=options.image_size,
        encoder=options.encoder,
        taps=getattr(options, "taps", None),
        preset=options.preset,
        seeds=options.seeds,
        device=options.device,
        precision=options.precision,
        assignments=tuple(assignments),
        checkpoints=files,
        plugin_files=tuple(options.plugin),
        results=options.results,
        overwrite=options.overwrite,
    )


def run(words: list[str]) -> int:
    """Measures the cells that are missing and prints the table."""
    from bench.planning import plan

    options = parser("run").parse_args(words)
    planned = plan(request_of(options))
    if options.dry_run:
        print(forecast(planned))
        return 0
    failed = 0
    if planned.missing:
        from bench import runner

        for event in followed(runner.run(planned)):
            if isinstance(event, runner.Measured) and event.record["status"] == "failed":
                failed += 1
                print(f"failed: {event.record['cell']['method']}: {event.record['error']}", file=sys.stderr)
    tell(planned)
    return 1 if failed else 0


def tell(planned: Plan) -> None:
    """Prints the table of a plan's cells, with floor and ceiling where they have been measured, and names the files."""
    from bench.planning import bounds
    from bench.report import report as reported

    found, damaged = gathered(planned.request.results)
    for path, reason in damaged:
        print(f"skipped: {path}: {reason}", file=sys.stderr)
    own = {cell.key for job in planned.jobs for cell in job.cells}
    wanted = own | bounds(planned)
    chosen = {record["key"]: record for record in found if record["key"] in wanted}
    methods = [job.method.name for job in planned.jobs]
    made = reported(chosen.values(), folder=planned.request.results, methods=list(dict.fromkeys(methods)))
    print(made.text)
    print(f"records  {planned.request.results / 'records'}")
    for path in made.files:
        print(f"{path.parent.name:8} {path}")


def gathered(results: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """The records of a results folder after those that come with the project, and the damaged files among its own."""
    from bench.records import read_all

    committed = [record for folder in sorted((plugins.ROOT / "results").glob("*/records")) for record in read_all(folder)[0]]
    own, damaged = read_all(results / "records")
    return committed + own, damaged


def pretrain(words: list[str]) -> int:
    """Makes encoders without asking anything of them."""
    from bench.planning import plan

    options = parser("pretrain").parse_args(words)
    planned = plan(request_of(options))
    if options.dry_run:
        print(forecast(planned))
        return 0
    from bench import checkpoints, runner

    failed = 0
    for event in followed(runner.pretrained(planned)):
        if isinstance(event, runner.Progress):
            continue
        job, weights = event
        if weights.kind == "failed":
            failed += 1
            print(f"failed: {job.method.name}: {weights.facts['error']}", file=sys.stderr)
            continue
        file = weights.file
        if options.bundle:
            file = checkpoints.bundle(file, planned.pretrain_facts.name, planned.request.encoder)
        print(f"{job.method.name}  seed {job.recipe.seed}  {weights.kind}  {file}")
    return 1 if failed else 0


def followed(events: Iterator[Any]) -> Iterator[Any]:
    """Passes events on while a bar shows them; the first Ctrl-C ends the work at the next safe moment."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        print("\nStopping as soon as it is safe; press Ctrl-C again to stop at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, press)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    try:
        with closing(events), Bars(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
            current = None
            for event in events:
                if hasattr(event, "title"):
                    if current is None or bars.tasks[-1].description != event.title:
                        if current is not None:
                            bars.remove_task(current)
                        current = bars.add_task(event.title, total=event.total, note=event.note)
                    bars.update(current, completed=event.done, total=event.total, note=event.note)
                yield event
                if pressed:
                    raise Interrupted
    except KeyboardInterrupt:
        raise Interrupted from None
    finally:
        signal.signal(signal.SIGINT, before)


def forecast(planned: Plan) -> str:
    """The cells of a plan, which are measured, where their encoders would come from, and an estimate of time and disk."""
    from tabulate import tabulate

    from bench.planning import estimate

    rows = []
    for job in planned.jobs:
        guess = estimate(planned, job)
        for cell in job.cells or (None,):
            state = "measured" if cell and cell.measured else guess.source
            rows.append([job.method.name, job.recipe.seed, cell.protocol.name if cell else "", state, f"{job.recipe.views:,}" if job.trains else "", guess.minutes if state == "to pretrain" else ""])
    disk = sum(estimate(planned, job).disk for job in planned.missing) / 1e6
    head = f"{planned.facts.name}: {planned.facts.train_images:,} + {planned.facts.test_images:,} images of {planned.facts.image_size} pixels, {len(planned.facts.classes)} classes; {planned.request.encoder}, {planned.request.preset}\n\n"
    table = tabulate(rows, ["method", "seed", "protocol", "state", "views", "minutes"], disable_numparse=True)
    return f"{head}{table}\n\nAt most {disk:,.0f} MB of features and weights will be written to the cache."


def report(words: list[str]) -> int:
    """Prints and saves the tables of all records in a results folder."""
    made = Parser(prog="run_bench.py report", description="Tables and figures from records alone.", allow_abbrev=False)
    made.add_argument("--results", type=Path, default=Path("results/local"), metavar="DIR", help="folder that holds records/ (default results/local)")
    made.add_argument("--methods", type=comma, metavar="A,B", help="only these, with floor and ceiling")
    options = made.parse_args(words)
    from bench.records import read_all

    found, damaged = read_all(options.results / "records")
    for path, reason in damaged:
        print(f"skipped: {path}: {reason}", file=sys.stderr)
    if not found:
        raise UserError(f"{options.results}: holds no records; python run_bench.py --methods rotnet --results {options.results} makes some.")
    from bench.report import report as reported

    written = reported(found, folder=options.results, methods=options.methods)
    print(written.text)
    for path in written.files:
        print(f"{path.parent.name:8} {path}")
    return 0


def show_list(words: list[str]) -> int:
    """Prints what there is to choose from, or one plugin's settings."""
    made = Parser(prog="run_bench.py list", description="Methods, protocols, data sets and encoders; with a name, its settings.", allow_abbrev=False)
    made.add_argument("name", nargs="?")
    made.add_argument("--plugin", action="append", default=[], metavar="FILE")
    options = made.parse_args(words)
    known = {kind: plugins.plugins(kind, tuple(options.plugin)) for kind in plugins.FOLDERS}
    if options.name:
        matches = [(kind, found[options.name]) for kind, found in known.items() if options.name in found]
        if not matches:
            raise UserError(f"{options.name!r} is not known. {did_you_mean(options.name, (n for found in known.values() for n in found))}")
        for kind, plugin in matches:
            print(described(kind, plugin))
        return 0
    for kind, found in known.items():
        print(f"{kind}s")
        width = max(map(len, found), default=0)
        print("\n".join(f"  {name:{width}}  {plugin.summary}" for name, plugin in found.items()), end="\n\n")
    print("`list NAME` shows a plugin's settings; change one with --set NAME.KEY=VALUE.")
    return 0


def described(kind: str, plugin: plugins.Plugin) -> str:
    """A plugin's docstring and settings."""
    import ast

    lines = [f"{plugin.name} ({kind})", "", ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""]
    if plugin.settings:
        lines += ["", "settings"]
        lines += [f"  --set {plugin.name}.{s.name}={plugins.shown(s.default)}  ({s.annotation})" for s in plugin.settings.values()]
    if short := plugin.constants.get("short"):
        lines += ["", "in presets shorter than paper: " + ", ".join(f"{k}={plugins.shown(v)}" for k, v in short.items())]
    return "\n".join(lines)

