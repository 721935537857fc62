"""The request: what of it the names of files say."""

from __future__ import annotations

from sslbench.bench.planning.plan import MAX_WORDS, Request


def test_names_of_files_say_what_is_not_the_default() -> None:
    """Settings and seeds that differ from the default are words of a file's name; many of them become a hash."""
    default = Request(methods=("rotnet",))
    assert default.unusual_words() == ()
    changed = Request(methods=("rotnet",), encoder="vit", seeds=(1,), assignments=("rotnet.turns=2",))
    assert changed.unusual_words() == ("vit", "s1", "rotnet.turns=2")
    assert changed.unusual_words("encoder", "seeds") == ("rotnet.turns=2",)
    many = [Request(methods=("rotnet",), assignments=("recipe.lr=0.1",) * MAX_WORDS + (end,)) for end in "ab"]
    assert [len(words) for request in many for words in request.unusual_words()] == [8, 8]
    assert many[0].unusual_words() != many[1].unusual_words()
