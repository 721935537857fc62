"""Encoding captions: words become numbers by a hash, and a transformer encodes the sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from zlib import crc32

import torch
from torch import Tensor, nn

from ._transformer import Transformer

PADDING, END = 0, 1  # numbers that no word has


class CaptionEncoder(nn.Module):
    """Captions -> features (N, width) at the end of each sentence (Radford et al. 2021, section 2.4)."""

    def __init__(self, *, width: int, depth: int, heads: int, vocabulary: int, words: int) -> None:
        super().__init__()
        self.vocabulary, self.words = vocabulary, words
        self.word_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(words + 1, width)
        nn.init.normal_(self.word_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.01)
        self.transformer = Transformer(width, depth=depth, heads=heads)

    def forward(self, captions: Sequence[str]) -> Tensor:
        """Encodes the first ``words`` words and punctuation marks of each caption."""
        device = self.word_embedding.weight.device
        numbers = [[*tokenise(caption, self.vocabulary)[: self.words], END] for caption in captions]
        lengths = [len(sentence) for sentence in numbers]
        longest = max(lengths)
        padded = [sentence + [PADDING] * (longest - len(sentence)) for sentence in numbers]
        tokens = self.word_embedding(torch.tensor(padded, device=device)) + self.position_embedding.weight[:longest]
        # No word attends to later ones, so the padding after the end changes nothing.
        later = torch.ones(longest, longest, dtype=torch.bool, device=device).triu(1)
        ends = torch.tensor(lengths, device=device) - 1
        features: Tensor = self.transformer(tokens, later)[torch.arange(len(ends), device=device), ends]
        return features


@cache
def word_number(word: str, vocabulary: int) -> int:
    """The word's number, at least 2 and below ``vocabulary``; the same on every machine and in every run."""
    return 2 + crc32(word.encode()) % (vocabulary - 2)


def tokenise(caption: str, vocabulary: int) -> list[int]:
    """The numbers of a caption's words and punctuation marks; upper and lower case count as the same."""
    return [word_number(word, vocabulary) for word in re.findall(r"\w+|[^\w\s]", caption.lower())]
