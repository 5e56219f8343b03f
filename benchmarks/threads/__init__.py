"""How many threads one answer is worth."""
