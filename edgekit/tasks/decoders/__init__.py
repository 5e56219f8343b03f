"""Tasks of decoders (causal language models): one file a task, each with `TASK = DecoderTask(...)`."""
