"""Encoders that somebody else trained: which there are, how they come here, and how their files are read."""
