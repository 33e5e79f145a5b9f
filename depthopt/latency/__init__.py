"""Measure the latency of networks and of everything that may run in them."""
