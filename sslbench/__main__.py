"""The command line as ``python -m sslbench``."""

from .bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
