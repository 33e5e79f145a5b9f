"""Latency of networks and of everything that may run in them, measured."""

from depthopt.latency.pick import pick_measured
from depthopt.latency.profile import profile
from depthopt.latency.validate import validate

__all__ = ["pick_measured", "profile", "validate"]
