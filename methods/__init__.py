"""One file = one paper; the file's name is the method's name on the command line and in the tables."""
