"""Traced networks: tracing with torch.fx, what nodes are, and small modules."""
