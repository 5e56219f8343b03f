"""Models: the files of a checkpoint, loading and saving, where each architecture keeps what, and changing a model's shape."""
