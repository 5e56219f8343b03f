"""What pruning is made of: importance, masks, costs, and what makes up for removed weights."""
