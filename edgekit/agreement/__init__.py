"""Does a bundle answer what the model's own library answers? From raw text to answer, on rows and on made texts."""
