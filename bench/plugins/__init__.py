"""Plugin files and their settings."""
