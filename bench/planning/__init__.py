"""From a request to the cells to measure."""
