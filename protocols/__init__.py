"""One file = one question; the file's name is the protocol's name on the command line and in the tables."""
