"""Readings of a machine's clock, temperature, throttling and energy: a module a source, each reading a value or the reason for none."""
