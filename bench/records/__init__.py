"""Records of measured cells: their parts, their files, and which of them may be compared."""
