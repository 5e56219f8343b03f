"""Families of decoders, one file each, found by `edgekit.models.decoders`."""
