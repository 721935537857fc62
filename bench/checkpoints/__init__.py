"""Checkpoints: files of weights, saved, registered, downloaded, recognised, read safely and exported."""
