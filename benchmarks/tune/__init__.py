"""How good the search of `edgekit tune` is."""
