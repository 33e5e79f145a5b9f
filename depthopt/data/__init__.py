"""Data sets: inputs, targets, and batches of them."""
