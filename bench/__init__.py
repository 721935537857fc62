"""The engine: knows no method and no protocol by name. Start reading at ``bench/runner.py``."""
