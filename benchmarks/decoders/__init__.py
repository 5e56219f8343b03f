"""A decoder of half a billion parameters beside its peers."""
