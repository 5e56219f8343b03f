"""Text from a language model: its graph and cache, sampling, text from tokens, chat, and the terminal. No torch."""
