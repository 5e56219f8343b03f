"""Where rows come from: local files, the hub, and the built-in corpus; checked, hashed, proven disjoint."""
