"""The traced network: torch.fx tracing, what its nodes are, and small modules for it."""
