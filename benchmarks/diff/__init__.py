"""How often `edgekit diff` names the part that a fault was put into."""
