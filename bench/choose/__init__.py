"""Chooses an encoder for a data set: successive halving over candidates, within a time limit."""
