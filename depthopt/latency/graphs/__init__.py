"""ONNX graphs whose difference is one latency entry, many times."""
