"""Views, colour spaces and input specifications."""
