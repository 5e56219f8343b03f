"""The GPU lane: bundles for NVIDIA targets beside PyTorch on the same GPU."""
