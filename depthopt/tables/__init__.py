"""Measured latencies and importances: values and files."""
