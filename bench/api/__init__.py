"""The Python API behind ``import sslbench``. The command line parses, prints and ends; this package does the rest."""
