"""Compares self-supervised methods: ``python run_bench.py --help``."""

from sslbench.bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
