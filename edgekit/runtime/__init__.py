"""All that a device needs: open a bundle, answer, verify, measure. numpy, onnxruntime and tokenizers, nothing else."""
