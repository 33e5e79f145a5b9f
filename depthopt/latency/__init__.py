"""Latency of networks and of everything that may run in them, measured."""

from depthopt.latency.profile import profile

__all__ = ["profile"]
