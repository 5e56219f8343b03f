"""Reading and changing ONNX graphs, for export, quantize and audit."""
