"""Compares self-supervised methods: ``python run_bench.py --help``."""
# PYTHON_ARGCOMPLETE_OK: completion in the shell looks for this in the first 1,024 characters.

from sslbench.bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
