"""Latency of networks and of everything that may run in them, measured."""
