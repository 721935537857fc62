"""sslbench: self-supervised vision methods on the same data, encoder, budget and probes.

``sslbench.run(methods=["rotnet", "moco"], preset="smoke")`` measures, and ``load``, ``compare``, ``encoder`` and
``features`` work with what was measured. Everything that a plugin needs can be imported from here too:
``from sslbench import Batch, Method, augment``.
A name is loaded when it is first used, so that importing this package imports neither torch nor pandas.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a wheel `bench`, `methods`, `protocols` and `results` are inside this package; in a checkout they are next to it.
__path__.append(str(Path(__file__).resolve().parents[1]))

PUBLIC = {
    "bench.api.choose": ("choose",),
    "bench.api.run": ("run",),
    "bench.api.show": ("show",),
    "bench.api.results": ("Results", "compare", "load"),
    "bench.api.features": ("encoder", "features"),
    "bench.method": ("Batch", "Method", "Panel", "TrainInfo"),
    "bench.records.measurement": ("Measurement", "format_number"),
    "bench.protocol": (
        "Metric",
        "Protocol",
        "TableCell",
        "accuracy_cell",
        "accuracy_measurements",
        "as_percent",
        "ranked_cell",
        "row_name",
    ),
    "bench.evaluation.feature_spec": ("FeatureSpec", "evenly_spaced"),
    "bench.evaluation.representation": ("Representation",),
    "bench.evaluation": ("probes",),
    "bench.encoders": ("Encoder",),
    "bench.encoders.vit": ("ViT",),
    "bench.training": ("distributed",),
    "bench.data": ("VOID", "Dataset", "DatasetInfo", "DatasetSource", "Split"),
    "bench.images": ("augment", "colour"),
    "bench.errors": ("UserError", "require"),
    "bench.plugins.ranges": ("Count", "NonNegative", "Pooling", "Positive", "PositiveShare", "Share", "ShareBelowOne"),
    "bench.precision": ("without_autocast",),
    "bench": ("statistics",),
}
HOMES = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = [*HOMES]

if TYPE_CHECKING:
    from .bench import statistics as statistics
    from .bench.api.choose import choose as choose
    from .bench.api.features import encoder as encoder, features as features
    from .bench.api.results import Results as Results, compare as compare, load as load
    from .bench.api.run import run as run
    from .bench.api.show import show as show
    from .bench.data import (
        VOID as VOID,
        Dataset as Dataset,
        DatasetInfo as DatasetInfo,
        DatasetSource as DatasetSource,
        Split as Split,
    )
    from .bench.encoders import Encoder as Encoder
    from .bench.encoders.vit import ViT as ViT
    from .bench.errors import UserError as UserError, require as require
    from .bench.evaluation import probes as probes
    from .bench.evaluation.feature_spec import FeatureSpec as FeatureSpec, evenly_spaced as evenly_spaced
    from .bench.evaluation.representation import Representation as Representation
    from .bench.images import augment as augment, colour as colour
    from .bench.method import Batch as Batch, Method as Method, Panel as Panel, TrainInfo as TrainInfo
    from .bench.plugins.ranges import (
        Count as Count,
        NonNegative as NonNegative,
        Pooling as Pooling,
        Positive as Positive,
        PositiveShare as PositiveShare,
        Share as Share,
        ShareBelowOne as ShareBelowOne,
    )
    from .bench.precision import without_autocast as without_autocast
    from .bench.protocol import (
        Metric as Metric,
        Protocol as Protocol,
        TableCell as TableCell,
        accuracy_cell as accuracy_cell,
        accuracy_measurements as accuracy_measurements,
        as_percent as as_percent,
        ranked_cell as ranked_cell,
        row_name as row_name,
    )
    from .bench.records.measurement import Measurement as Measurement, format_number as format_number
    from .bench.training import distributed as distributed


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = resolve_name(f"{__name__}.{HOMES[name]}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
