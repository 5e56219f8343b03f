"""Many texts: what memory a million of them take, and whether it pays to join them in batches."""
