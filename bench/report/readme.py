"""Keeps the README's generated parts like the files they come from: ``python -m bench.readme [--check]``.

A part stands between ``<!-- from PATH -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys

from ..plugins.discovery import ROOT

PART = re.compile(r"(<!-- from (?P<path>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every part replaced by its file's contents."""
    return PART.sub(
        lambda part: part[1] + (ROOT / part["path"]).read_text(encoding="utf-8").strip() + "\n" + part[3], text
    )


def main() -> int:
    """Rewrites what is stale, or with ``--check`` only says so and returns 1."""
    stale = 0
    for path in (ROOT / "README.md", ROOT / "results" / "README.md"):
        text = path.read_text(encoding="utf-8")
        if (fresh := filled(text)) == text:
            continue
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale; `make report` renews it.", file=sys.stderr)
            stale = 1
        else:
            path.write_text(fresh, encoding="utf-8")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
