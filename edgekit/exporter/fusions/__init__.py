"""Passes that put fewer, larger operators in place of what the exporter wrote; `fuse` runs them in order."""
