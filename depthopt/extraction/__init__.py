"""Extract a model's chain of blocks."""
