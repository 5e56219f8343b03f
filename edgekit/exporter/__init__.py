"""From a PyTorch checkpoint to ONNX, compared with eager PyTorch: encoders are traced and fused, a decoder's graph is written."""
