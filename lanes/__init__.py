"""Emulated lanes: bundles proven on instruction sets that this machine does not have. `python -m lanes --help`."""
