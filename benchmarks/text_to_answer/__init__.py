"""Text in, answer out: a bundle beside the libraries that people use, and many texts on all cores."""
