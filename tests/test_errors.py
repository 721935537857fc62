"""Messages: one line, whatever the names in them contain."""

from __future__ import annotations

import pytest

from sslbench.bench.cli import main
from sslbench.bench.errors import UserError, printable


def test_a_mistake_is_one_line_whatever_its_names_contain() -> None:
    """Line breaks, terminal commands, undecodable bytes and signs that reverse text are shown as escapes."""
    assert str(UserError("a\nb\r\x1b[31m\u2028\udcff\u202e é–✓ 🙂")) == "a\\nb\\r\\x1b[31m\\u2028\\udcff\\u202e é–✓ 🙂"
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "random", "--data-dir=--"], "error: argument --data-dir: expected a value, not '--'"),
        (["--methods", "random", "--plugin", "y" * 300], f"error: {'y' * 300}: cannot be used (File name too long)"),
        (["list", "a\nb"], "error: 'a\\nb' is not known."),
        (["show", "rotnet", "a\nb"], "error: unrecognized arguments: a\\nb"),
    ],
)
def test_odd_words_are_a_mistake_of_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What hypothesis found: values that argparse drops, paths that no file system takes, and line breaks."""
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1
