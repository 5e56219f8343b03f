"""What a recipe names and this machine has not: looked up in a mirror, then in the cache, then fetched."""
