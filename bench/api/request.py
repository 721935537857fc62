"""From words to a request: the options of the command line, or the arguments of a function.

Each value may be the text that the command line takes or what is natural in Python: "rotnet,moco" or
["rotnet", "moco"], "0,1" or [0, 1], a path as text or as a Path, settings as texts "plugin.key=value" or as a
dictionary.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..plugins.discovery import find_plugins
from ..plugins.settings import format_value

if TYPE_CHECKING:
    from ..planning.plan import Request

PRECISIONS = ("auto", "fp32", "bf16")
PathLike = str | os.PathLike[str]


def make_request(words: Mapping[str, Any]) -> Request:
    """The request that options stand for, each by its word without dashes; an option that is left out is the default.

    Raises UserError for a value that is not of the option's kind.
    """
    from ..planning.plan import Request

    fields = {field: read(words[word]) for word, (field, read) in FIELDS.items() if word in words}
    encoder = encoder_name(words.get("encoder"), words.get("encoder_from"))
    fields["assignments"] = setting_assignments(words.get("settings", ()))
    request = Request(encoder=encoder, **fields)
    if words.get("skip_unreadable"):
        fields["assignments"] += tuple(skip_unreadable_assignments(request))
        request = Request(encoder=encoder, **fields)
    return request


def names(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The words of a list such as "a,b", or of a list of texts; None stays None."""
    if value is None:
        return None
    return comma_separated(value) if isinstance(value, str) else tuple(map(str, value))


def comma_separated(text: str) -> tuple[str, ...]:
    """The words of a list such as "a,b"."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def methods(value: str | Iterable[str]) -> tuple[str, ...]:
    """The words of ``--methods``."""
    return method_words(value) if isinstance(value, str) else tuple(map(str, value))


def method_words(text: str) -> tuple[str, ...]:
    """The words of ``--methods``; a comma within file/PATH is part of the path if such a file is there."""
    words: list[str] = []
    pieces = text.split(",")
    while pieces:
        lengths = range(len(pieces), 1, -1) if pieces[0].strip().startswith("file/") else ()
        length = next((count for count in lengths if names_file(",".join(pieces[:count]).strip())), 1)
        words.append(",".join(pieces[:length]).strip())
        pieces = pieces[length:]
    return tuple(filter(None, words))


def names_file(word: str) -> bool:
    """Whether file/PATH, perhaps with @ENCODER and #PART after it, names a file that is there."""
    path = word.removeprefix("file/")
    before_encoder = path.rpartition("@")[0]
    ends = (path, before_encoder, path.rpartition("#")[0], before_encoder.rpartition("#")[0])
    return any(os.path.isfile(os.path.expanduser(end)) for end in ends if end and "," not in path[len(end) :])


def seed_numbers(value: int | str | Iterable[int]) -> tuple[int, ...]:
    """The numbers of a list such as "0,1,2", each at least 0. Raises UserError for anything else."""
    words = comma_separated(value) if isinstance(value, str) else [value] if isinstance(value, int) else list(value)
    if not words or not all(str(word).isdigit() for word in words):
        raise UserError(f"--seeds: {format_value(value)!r} is not a list of whole numbers, such as 0,1,2")
    return tuple(map(int, words))


def side_in_pixels(value: int | str | None) -> int | None:
    """The value of ``--image-size``. Raises UserError where it is not a whole number."""
    if value is not None and not str(value).removeprefix("-").isdigit():
        raise UserError(f"--image-size: {value!r} is not a whole number of pixels")
    return None if value is None else int(value)


def number_of_images(value: int | str | None) -> int | None:
    """The value of ``--limit``. Raises UserError where it is not a whole number above 0."""
    if value is not None and (not str(value).isdigit() or int(value) < 1):
        raise UserError(f"--limit: {value!r} is not a whole number of images, 1 or more")
    return None if value is None else int(value)


def precision_name(value: str) -> str:
    """The value of ``--precision``. Raises UserError for a word that is not known."""
    if value not in PRECISIONS:
        raise UserError(f"--precision: {value!r} is not known. Known: {', '.join(PRECISIONS)}.")
    return value


def several(value: PathLike | Iterable[PathLike]) -> list[PathLike]:
    """One value or several as a list: what the command line takes by repeating an option."""
    return [value] if isinstance(value, str | os.PathLike) else list(value)


def labels(value: str | Iterable[str]) -> tuple[str, ...]:
    """The values of ``--variant``, which may contain commas."""
    return tuple(map(str, several(value)))


def paths(value: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """One path or several, with ~ replaced by the home folder."""
    return tuple(os.path.expanduser(path) for path in several(value))


def path_of(value: PathLike) -> Path:
    """A path in which ~ is the home folder, which the shell leaves to programs in --option=~/x."""
    return Path(os.path.expanduser(value))


def expand_home(path: PathLike | None) -> str | None:
    """A path with ~ replaced by the home folder."""
    return None if path is None else os.path.expanduser(os.fspath(path))


def files_by_method(value: Mapping[str, PathLike] | str | Iterable[str]) -> dict[str, str]:
    """Method -> file, or "METHOD=FILE" texts, as file by method. Raises UserError for any other text."""
    if isinstance(value, Mapping):
        return {method: os.path.expanduser(os.fspath(file)) for method, file in value.items()}
    files = {}
    for assignment in map(str, several(value)):
        method, equals, file = assignment.partition("=")
        if not equals:
            raise UserError(f"--checkpoint {assignment}: write it as method=file.")
        files[method] = os.path.expanduser(file)
    return files


def setting_assignments(value: Mapping[str, Any] | str | Iterable[str]) -> tuple[str, ...]:
    """Settings as "plugin.key=value" texts: of a dictionary "plugin.key" -> value, or texts as they are."""
    if isinstance(value, Mapping):
        return tuple(f"{name}={format_value(setting)}" for name, setting in value.items())
    return tuple(map(str, several(value)))


def encoder_name(encoder: str | None, encoder_from: str | None) -> str:
    """The encoder that ``--encoder`` or ``--encoder-from`` names. Raises UserError for both."""
    if encoder_from is None:
        return "convnet" if encoder is None else encoder
    if encoder is not None:
        raise UserError(f"--encoder {encoder} and --encoder-from {encoder_from}: use one of them.")
    if not re.fullmatch(r"[\w.]+:\w+", encoder_from):
        raise UserError(f"--encoder-from {encoder_from}: write it as module:function, such as mynet:build.")
    return f"own/{encoder_from}"


def skip_unreadable_assignments(request: Request) -> list[str]:
    """``--skip-unreadable`` as ``--set`` texts for the data sets that have this setting; for all if none has it."""
    known = find_plugins("dataset", request.plugin_files)
    named = (request.dataset, request.pretrain_dataset or request.dataset)
    used = dict.fromkeys(name.partition("/")[0] for name in named)
    capable = [name for name in used if name in known and "skip_unreadable" in known[name].settings]
    return [f"{name}.skip_unreadable=true" for name in capable or used]


def as_given(value: Any) -> Any:
    """A value that needs no conversion."""
    return value


FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "methods": ("methods", methods),
    "protocol": ("protocols", names),
    "dataset": ("dataset", str),
    "data_dir": ("data_dir", expand_home),
    "pretrain_dataset": ("pretrain_dataset", as_given),
    "pretrain_data_dir": ("pretrain_data_dir", expand_home),
    "image_size": ("image_size", side_in_pixels),
    "limit": ("limit", number_of_images),
    "taps": ("taps", names),
    "preset": ("preset", str),
    "seeds": ("seeds", seed_numbers),
    "device": ("device", str),
    "precision": ("precision", precision_name),
    "variant": ("variants", labels),
    "checkpoint": ("checkpoints", files_by_method),
    "plugin": ("plugin_files", paths),
    "results": ("results", path_of),
    "references": ("references", bool),
    "overwrite": ("overwrite", bool),
    "debug": ("debug", bool),
}
"""Option -> the request's field and the function that reads its value."""
