"""What a network is for: how far its answers are from the original's, and from the right ones."""
