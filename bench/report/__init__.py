"""Tables, figures and comparisons, made from records alone."""
