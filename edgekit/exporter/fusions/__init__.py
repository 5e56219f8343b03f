"""Passes that put fewer, larger operators in place of what the exporter wrote."""
