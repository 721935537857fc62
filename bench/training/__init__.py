"""Pretraining: the loop, the recipe, and training with several processes."""
