"""Tables of latencies and importances, as values and files."""
