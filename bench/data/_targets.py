"""What a folder says about its pictures in addition to their classes: a label file, masks and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from ..errors import UserError
from ..images.input_spec import InputSpec
from . import VOID, Dataset
from ._label_file import LabelFile, PictureTable, read_label_file
from ._pixel_targets import DEPTH, MASKS, PixelTargets, range_of_arrays
from ._tree import SplitFiles, Tree

LABEL_FILE = "labels.csv"


@dataclass(frozen=True)
class FolderTargets:
    """The targets of a tree of pictures; ``labels`` is the path of its label file, if a setting names one."""

    tree: Tree
    labels: str | None = None

    @cached_property
    def provides(self) -> frozenset[str]:
        """The names of the targets that are there: multi_labels, values, masks, depth."""
        kinds = [kind for kind in (MASKS, DEPTH) if (self.tree.root / kind).is_dir()]
        return frozenset(kinds) | (self._label_file.provides if self._label_file else frozenset())

    def identity(self, needs: frozenset[str]) -> dict[str, str]:
        """A digest of each target named in ``needs``. Raises UserError if it is unusable or a picture lacks it."""
        return {name: self._target(name).digest for name in sorted(needs & self.provides)}

    def load_split(
        self,
        needs: frozenset[str],
        files: SplitFiles,
        kept: Sequence[int],
        *,
        name: str,
        size: int,
        input_spec: InputSpec | None,
        workers: int,
    ) -> dict[str, Any]:
        """The targets named in ``needs``, of the pictures of a split that have the positions ``kept``.

        ``size`` and ``input_spec`` are those of the pictures; ``name`` is that of the data set.
        """
        import torch

        images, is_train = len(self.tree.train), files is self.tree.train
        where = slice(0, images) if is_train else slice(images, None)
        title = f"{name}-{'train' if is_train else 'test'}"
        found: dict[str, Any] = {}
        for wanted in sorted(needs & self.provides):
            target = self._target(wanted)
            rows: Any = (
                target.rows[where]
                if isinstance(target, PictureTable)
                else target.load(where, title, size, input_spec, workers)
            )
            found[wanted] = torch.from_numpy(rows if len(kept) == len(files) else rows[kept])
        return found

    def with_names(self, dataset: Dataset, needs: frozenset[str]) -> Dataset:
        """The data set with the names of its targets. Raises UserError for targets that do not vary."""
        present = needs & self.provides
        names = {name: target.names for name in present if isinstance(target := self._target(name), PictureTable)}
        if "values" in present:
            self._check_values(dataset, names["values"])
        if DEPTH in present:
            self._check_depth(dataset)
        return replace(
            dataset,
            mask_classes=self._mask_classes(dataset) if MASKS in present else (),
            label_names=names.get("multi_labels", ()),
            value_names=names.get("values", ()),
        )

    def _mask_classes(self, dataset: Dataset) -> tuple[str, ...]:
        """The names of the classes in the masks: those of the file of classes, else numbers."""
        ends = range_of_arrays(
            [split.masks.numpy() for split in (dataset.train, dataset.test) if split.masks is not None], VOID
        )
        if ends is None or ends[0] == ends[1]:
            only = "unknown (255)" if ends is None else f"of class {ends[0]:g} or unknown (255)"
            raise UserError(
                f"{self.tree.root / MASKS}: every pixel is {only}, so there is nothing to tell apart. "
                "Number the classes 0, 1 and so on."
            )
        target = self._target(MASKS)
        assert isinstance(target, PixelTargets)
        return target.classes or tuple(map(str, range(int(ends[1]) + 1)))

    def _check_depth(self, dataset: Dataset) -> None:
        ends = range_of_arrays(
            [split.depth.numpy() for split in (dataset.train, dataset.test) if split.depth is not None]
        )
        if ends and ends[0] == ends[1]:
            raise UserError(
                f"{self.tree.root / DEPTH}: every depth is {ends[0]:g} metres, so nothing can be predicted."
            )

    def _check_values(self, dataset: Dataset, names: Sequence[str]) -> None:
        """Raises UserError for a number that is the same for all pictures of a split."""
        assert self._label_file
        for split, title in ((dataset.train, "train"), (dataset.test, "test")):
            assert split.values is not None
            for name, column in zip(names, split.values.T, strict=True):
                if float(column.min()) == float(column.max()):
                    pictures = (
                        f"all {len(column):,} {title} pictures" if len(column) > 1 else f"the only {title} picture"
                    )
                    raise UserError(
                        f"{self._label_file.file}: {name!r} is {float(column[0]):g} for {pictures}, "
                        "so it cannot be predicted. Remove the column."
                    )

    def _target(self, name: str) -> PictureTable | PixelTargets:
        if name not in self._targets:
            self._targets[name] = self._make_target(name)
        return self._targets[name]

    def _make_target(self, name: str) -> PictureTable | PixelTargets:
        if name in (MASKS, DEPTH):
            contents = tuple(chain(self.tree.train.hashes, self.tree.test.hashes))
            return PixelTargets(self.tree.root, name, self._pictures, contents)
        assert self._label_file
        read = self._label_file.values if name == "values" else self._label_file.multi_labels
        return read(self._pictures)

    @cached_property
    def _targets(self) -> dict[str, PictureTable | PixelTargets]:
        return {}

    @cached_property
    def _pictures(self) -> tuple[str, ...]:
        """The paths of all pictures below the root, those of train first."""
        return tuple(
            (files.folder.relative_to(self.tree.root) / path).as_posix()
            for files in (self.tree.train, self.tree.test)
            for path in files.paths
        )

    @cached_property
    def _label_file(self) -> LabelFile | None:
        file = self.tree.root / (self.labels or LABEL_FILE)
        if self.labels and not file.is_file():
            raise UserError(f"folder.labels = {self.labels}: there is no file {file}. Correct the path.")
        return read_label_file(file, is_named=bool(self.labels)) if file.is_file() else None
