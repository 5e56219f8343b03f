"""Reading and changing ONNX graphs in memory, for exporter, quantize and audit: one copy of what they share."""
