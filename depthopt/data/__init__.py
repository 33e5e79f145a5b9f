"""Data sets: images, labels, and batches of them."""
