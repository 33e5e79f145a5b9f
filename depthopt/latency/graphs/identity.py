"""Nothing in a graph."""

from depthopt.core.operators import Identity
from depthopt.latency.graphs.builder import GraphBuilder


def add_identity(builder: GraphBuilder, identity: Identity, x: str) -> str:  # noqa: ARG001
    """No node: what follows reads ``x`` itself."""
    return x
