"""What ONNX Runtime really executes of a model."""
