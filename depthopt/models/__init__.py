"""Make networks, and read and write their weights."""
