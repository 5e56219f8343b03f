"""Guesses of next tokens from the text so far, beside one token a run."""
