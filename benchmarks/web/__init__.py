"""A bundle in a browser beside its original by transformers.js: an answer, what is downloaded, a first answer."""
