"""What rounding costs language models."""
