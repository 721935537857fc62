"""Files on disk: the cache, hashes, atomic writes and downloads."""
