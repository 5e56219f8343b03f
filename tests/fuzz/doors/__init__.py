"""Doors, one file each: `DOOR`, or `DOORS` where several have much in common."""
