"""Training: the one loop that every method with gradient steps shares, models from nothing, fine-tuning, LoRA."""
