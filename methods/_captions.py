"""Reading captions: words numbered by a hash, and a transformer whose last word stands for the sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from zlib import crc32

import torch
from torch import Tensor, nn

from ._transformer import Transformer

FILLED, END = 0, 1  # numbers that are no word's


class Reader(nn.Module):
    """Captions -> (N, width), what the end of each sentence holds (Radford et al. 2021, section 2.4)."""

    def __init__(self, *, width: int, depth: int, heads: int, vocabulary: int, words: int) -> None:
        super().__init__()
        self.vocabulary, self.words = vocabulary, words
        self.word, self.place = nn.Embedding(vocabulary, width), nn.Embedding(words + 1, width)
        nn.init.normal_(self.word.weight, std=0.02)
        nn.init.normal_(self.place.weight, std=0.01)
        self.sentence = Transformer(width, depth=depth, heads=heads)

    def forward(self, captions: Sequence[str]) -> Tensor:
        """Reads at most ``words`` words and signs of each."""
        device = self.word.weight.device
        numbers = [[*numbered(caption, self.vocabulary)[: self.words], END] for caption in captions]
        lengths = [len(sentence) for sentence in numbers]
        longest = max(lengths)
        filled = [sentence + [FILLED] * (longest - len(sentence)) for sentence in numbers]
        tokens = self.word(torch.tensor(filled, device=device)) + self.place.weight[:longest]
        # No word sees a later one, so what fills the shorter sentences changes nothing.
        later = torch.ones(longest, longest, dtype=torch.bool, device=device).triu(1)
        ends = torch.tensor(lengths, device=device) - 1
        return self.sentence(tokens, later)[torch.arange(len(ends), device=device), ends]


@cache
def number(word: str, vocabulary: int) -> int:
    """The same for the same word everywhere: from 2 to below ``vocabulary``."""
    return 2 + crc32(word.encode()) % (vocabulary - 2)


def numbered(caption: str, vocabulary: int) -> list[int]:
    """A number for each word and each sign of a caption, whatever their case."""
    return [number(word, vocabulary) for word in re.findall(r"\w+|[^\w\s]", caption.lower())]
