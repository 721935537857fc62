"""From a request to the cells that are to be measured."""
