"""What was measured: one folder a benchmark, each with its script, its results as JSON and the page made from them."""
