"""The command line as ``python -m sslbench``."""
# PYTHON_ARGCOMPLETE_OK: completion in the shell looks for this in the first 1,024 characters.

from .bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
