"""One cell, one JSON file."""
