"""What the weights of a record learned from: images alone, or images with something else.

Rows are ranked only with rows that learned from the same. CLIP's captions, for example, hold the words that a probe
asks for, so that its accuracy says little about methods that learn from images alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from ..plugins.discovery import Plugin, find_plugins, needs_of
from ..records.record import Record

IMAGES, UNKNOWN = "images", "unknown"

TIMM_TAGS = (  # the last that occurs in a tag decides, since fine-tuning comes last: ``clip_laion2b_ft_in1k``
    (IMAGES, r"dino|mae|mim|moco|ijepa|simsiam|byol|swav|lejepa"),
    ("images and captions", r"clip|openai|laion|siglip|datacomp|dfn|webli|yfcc|cc12m"),
)


def learned_from(record: Record) -> str:
    """What a record's weights learned from; "unknown" where neither record, plugin nor the weights' name says it."""
    checkpoint = record.source.checkpoint
    if record.source.kind == "untrained":
        return IMAGES
    needs: Iterable[str] | None = record.source.needs
    if needs is None:
        method = methods().get(checkpoint.token.partition("@")[0] if checkpoint else record.cell.method)
        if method is None:
            return learned_by_name(checkpoint.token) if checkpoint else UNKNOWN
        needs = needs_of(method, {} if checkpoint else record.settings.method)
    return " and ".join([IMAGES, *sorted(needs)])


def learned_by_name(token: str) -> str:
    """What the weights of a library learned from, by their name on the command line."""
    library, _, name = token.partition("/")
    if library == "torchvision":
        return "images and labels"
    tag = name.partition(".")[2]
    if library != "timm" or not tag:
        return UNKNOWN
    kind = next((kind for kind, words in TIMM_TAGS if re.search(words, tag)), "")
    labelled = re.search(r"in\d+k", tag) and (not kind or "_ft_" in tag)
    if kind and not labelled:
        return kind
    return ("images, captions and labels" if "captions" in kind else "images and labels") if labelled else UNKNOWN


def beyond_images(kind: str) -> str:
    """What of a kind is not images, as a mark behind the name of a row: "+ captions"; "" for images alone."""
    return "" if kind in (IMAGES, UNKNOWN) else "+ " + kind.removeprefix(IMAGES).removeprefix(" and").lstrip(", ")


@cache
def methods() -> Mapping[str, Plugin]:
    """The methods that are installed; their source text says what they need."""
    return find_plugins("method")


def learning_notes(group: Sequence[Record], unranked: Sequence[str]) -> list[str]:
    """A note on ranks if rows learned from different things; ``unranked`` are methods without rank."""
    kinds = {learned_from(record) for record in group if record.cell.method not in unranked}
    return ["ranked only with rows that learn from the same"] if len(kinds) > 1 else []
