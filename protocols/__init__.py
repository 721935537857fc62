"""Protocols: one file asks one question of a frozen encoder. The file's name is the protocol's name everywhere."""
