"""Tasks of encoders: one file a task, each with `TASK = EncoderTask(...)`."""
