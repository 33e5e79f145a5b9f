"""Add an identity to a graph, which needs no node."""

from depthopt.core.operators import Identity
from depthopt.latency.graphs.builder import GraphBuilder


def add_identity(builder: GraphBuilder, identity: Identity, x: str) -> str:  # noqa: ARG001
    """Add nothing. What follows reads ``x`` itself."""
    return x
