"""What each candidate costs in accuracy."""

from depthopt.importance.estimate import estimate

__all__ = ["estimate"]
