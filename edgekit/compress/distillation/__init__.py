"""Distillation's parts: teachers, students, losses, and texts to learn from."""
