"""Weights: saved, found, downloaded, read safely, exported."""
