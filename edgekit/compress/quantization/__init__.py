"""INT8 as training sees it."""
