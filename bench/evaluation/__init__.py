"""A frozen encoder on a data set, and the probes."""
