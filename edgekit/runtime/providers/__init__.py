"""ONNX Runtime sessions, and what each execution provider needs."""
