"""What generators yield while they work, so that a caller can show it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """A part of a run, whose events have its title.

    Steps that share a kind are expected to take the same time per unit of ``amount``. ``kinds`` goes from the most
    specific to the most general one.
    """

    title: str
    kinds: tuple[str, ...]
    amount: float  # views, images, or 1 where a step has no size
    piece: int  # the number, from 1, of the cell or encoder that it is needed for


@dataclass(frozen=True, kw_only=True)
class Workload:
    """All that a run has to do, in order: its steps, and the number of cells or encoders that they produce."""

    unit: str  # "cell" or "encoder"
    pieces: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of a step is done. Generators yield it; ``show_progress`` draws it."""

    title: str
    done: int
    total: int  # 0 if it is not known
    note: str = ""
    workload: Workload | None = None  # with the first event of a run of several steps


class Finished(ABC):
    """An event for a cell that is finished or failed. Its line stays on the screen."""

    @property
    @abstractmethod
    def line(self) -> str:
        """The result in one line."""

    @property
    @abstractmethod
    def failed(self) -> bool:
        """Whether there is no result; the line then says why."""
