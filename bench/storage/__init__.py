"""Files: cache, hashes, atomic writes, downloads."""
