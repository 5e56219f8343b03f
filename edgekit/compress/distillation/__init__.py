"""What distillation is made of: teachers, students, losses, and text to learn from."""
