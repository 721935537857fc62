"""Copies generated tables into the README: ``python -m sslbench.bench.report.readme [--check]``.

The text between ``<!-- from PATH -->`` and ``<!-- end -->`` is replaced by the contents of that file.
"""

from __future__ import annotations

import re
import sys

from ..plugins.discovery import ROOT

PART = re.compile(r"(<!-- from (?P<path>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill_parts(text: str) -> str:
    """The text with the current contents of every file that it includes."""
    return PART.sub(
        lambda part: part[1] + (ROOT / part["path"]).read_text(encoding="utf-8").strip() + "\n" + part[3], text
    )


def main() -> int:
    """Updates both README files; with ``--check`` only reports those that are out of date, and returns 1."""
    stale = 0
    for path in (ROOT / "README.md", ROOT / "results" / "README.md"):
        text = path.read_text(encoding="utf-8")
        if (filled := fill_parts(text)) == text:
            continue
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is out of date; `make report` updates it.", file=sys.stderr)
            stale = 1
        else:
            path.write_text(filled, encoding="utf-8")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
