"""A bundle in a browser and in Node: `runner.mjs` and the modules that it is made of."""
