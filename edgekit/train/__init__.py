"""Training: the one loop that every method with gradient steps shares, models from random weights, fine-tuning, LoRA."""
