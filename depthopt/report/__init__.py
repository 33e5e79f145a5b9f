"""Pictures of what was found, measured and decided."""

from depthopt.report.drawing import chain_dot, chain_svg
from depthopt.report.history import history_svg
from depthopt.report.importance import importance_svg
from depthopt.report.validation import validation_svg

__all__ = ["chain_dot", "chain_svg", "history_svg", "importance_svg", "validation_svg"]
