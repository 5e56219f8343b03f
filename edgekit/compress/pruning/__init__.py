"""Pruning's algorithms: importance, masks, costs, and updates that compensate for removed weights."""
