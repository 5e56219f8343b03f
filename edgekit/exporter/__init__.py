"""From a PyTorch checkpoint to ONNX, compared with eager PyTorch."""
