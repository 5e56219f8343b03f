"""What answers of a given form cost."""
