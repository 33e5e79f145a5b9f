"""What each candidate costs in accuracy."""

from depthopt.importance.estimate import estimate
from depthopt.importance.workers import Workers

__all__ = ["Workers", "estimate"]
