"""Data sets of the Hugging Face Hub: downloaded into the cache, and opened by the library datasets."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError, did_you_mean
from ..storage.cache import cache_folder
from ._content import hash_files, state_of
from ._listing import permission_as_user_error

NAMED_CLASSES = "ClassLabel"  # the library's type of labels with names


def import_library() -> ModuleType:
    """The library datasets. Raises UserError if it is not installed."""
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise UserError("--dataset hf: needs the package datasets; run pip install 'sslbench[hf]'.") from None


def locate_copy(path: str, data_dir: str | None) -> Path:
    """The folder of the data: the given one, or a download of the hub's. Raises UserError if it cannot be had."""
    if not path and not data_dir:
        raise UserError("--dataset hf: names no data set; write --dataset hf/OWNER/NAME, or give --data-dir DIR.")
    folder = Path(os.path.expanduser(data_dir or path))
    if folder.is_dir():
        return folder
    if data_dir or path.count("/") > 1 or path.startswith((".", "~", "/")):
        raise UserError(
            f"{folder}: no such directory. Give the folder of a data set's files, or OWNER/NAME of the hub."
        )
    return download(path)


def download(path: str) -> Path:
    """The folder in the cache that holds the data set OWNER/NAME. Raises UserError if it cannot be downloaded."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, repo_type="dataset", cache_dir=cache_folder() / "hub"))
    except Exception as error:  # the client raises errors of several libraries
        reason = (str(error) or type(error).__name__).splitlines()[0]
        name = path.rpartition("/")[2]
        raise UserError(
            f"--dataset hf/{path}: cannot be downloaded ({reason}). Check the name; without a network, run "
            f"`hf download {path} --repo-type dataset --local-dir {name}` on a machine with one, copy the folder "
            f"{name} here, and add --data-dir {name}."
        ) from error


def open_splits(folder: Path, config: str | None, content: str) -> Mapping[str, Any]:
    """The splits in a folder of Parquet files or pictures, by name. Raises UserError if the library cannot read it.

    ``content`` is a hash of the files: the library's own cache would not notice every change of them.
    """
    datasets = import_library()
    try:
        loaded = datasets.load_dataset(str(folder), config, cache_dir=str(cache_folder() / "hub" / content))
    except Exception as error:  # the library raises errors of several kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{folder}: the library datasets cannot read it ({reason}). "
            "Choose a configuration with --set hf.config=NAME, or correct the folder."
        ) from error
    return dict(loaded)


def hash_folder(folder: Path) -> list[tuple[str, str]]:
    """Path and SHA-256 of every file that is not hidden, below a folder."""
    with permission_as_user_error(folder):
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        names = [path.relative_to(folder).as_posix() for path in files]
        return list(zip(names, hash_files(folder, names, [state_of(path.stat()) for path in files]), strict=True))


def find_split(splits: Mapping[str, Any], wanted: tuple[str, ...], where: Path) -> str:
    """The first of the wanted splits that is there. Raises UserError without one."""
    found = next((name for name in wanted if name in splits), None)
    if found is None:
        raise UserError(
            f"{where}: no {wanted[0]} split, only {', '.join(splits)}. Name the test split with --set hf.test=NAME; "
            "the other must be called train."
        )
    return found


def find_column(features: Mapping[str, Any], kind: str, setting: str, given: str | None, where: Path) -> str:
    """The column that a setting names, or the only one of a type. Raises UserError if there is none, or several."""
    if given is not None:
        if given not in features:
            raise UserError(f"hf.{setting} = {given}: no such column in {where}. {did_you_mean(given, features)}")
        return given
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if not found and kind == NAMED_CLASSES:
        found = [name for name in ("label", "labels") if name in features]
    if len(found) != 1:
        several = ", ".join(found or features)
        raise UserError(
            f"{where}: {'several columns may be' if found else 'no column is clearly'} the {setting}: {several}. "
            f"Choose one with --set hf.{setting}=NAME."
        )
    return found[0]
