"""How well a checkpoint file matches an encoder."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Match:
    """How well one dictionary of a file, read with one prefix and one key mapping, matches an encoder."""

    container: str
    prefix: str
    tensors: dict[str, Tensor]  # those that match, by the encoder's own names
    missing: list[str]  # names in the file's spelling, without the prefix
    wrong_shapes: list[str]  # the same, each with both shapes
    unexpected: list[str]  # names among the encoder's modules that the encoder does not have
    left_out: list[str]  # all other names: heads, queues, other encoders
    resized: list[str] = field(default_factory=list)  # position embeddings to interpolate, by the encoder's own names

    @property
    def complete(self) -> bool:
        """Whether the tensors are exactly those of the encoder."""
        return not (self.missing or self.wrong_shapes or self.unexpected)

    @property
    def share(self) -> float:
        """Fraction of the encoder's tensors that match in name and shape."""
        wanted = len(self.tensors) + len(self.missing) + len(self.wrong_shapes)
        return len(self.tensors) / wanted if wanted else 1.0

    @property
    def place(self) -> str:
        """Where in the file the encoder is: the dotted path of the dictionary, then the prefix of the names."""
        return ".".join(filter(None, (self.container, self.prefix.removesuffix("."))))

    @property
    def layout(self) -> dict[str, str | list[str]]:
        """Where in the file the encoder is, for a record; empty if the file is the encoder's state dict."""
        names = [name.removeprefix(self.prefix) if self.prefix else name for name in self.left_out]
        beginnings = sorted({".".join(name.split(".")[:2]) for name in names})
        layout: dict[str, str | list[str]] = {
            "container": self.container,
            "prefix": self.prefix,
            "left_out": beginnings,
            "resized": self.resized,
        }
        return {key: value for key, value in layout.items() if value}
