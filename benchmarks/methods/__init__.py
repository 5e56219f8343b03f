"""The grid: every compression method on every task."""
