"""The lane of browsers and Node: what it asks, and the modules that it asks with."""
