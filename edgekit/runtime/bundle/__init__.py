"""Bundles: opened, unpacked, parsed and verified as what they are, files from outside."""
