"""Average pooling on a skip, before its convolution."""

from torch import fx, nn

from depthopt.core.chain import Layer
from depthopt.extraction.network import Network, size_of
from depthopt.graph.convolutions import pooling_of, sole_user
from depthopt.graph.plain import is_plain


def pooling_before(network: Network, projection: fx.Node) -> fx.Node | None:
    """The average pooling that feeds a convolution and nothing else, if one does."""
    pool = projection.all_input_nodes[0]
    is_pooling = is_plain(network.module(pool), nn.AvgPool2d)
    return pool if is_pooling and sole_user(pool) is projection else None


def pooling_at(network: Network, node: fx.Node) -> Layer | str:
    """A pooling as a value, or why it cannot be used."""
    name, source = str(node.target), node.all_input_nodes[0]
    module = network.modules[name]
    if not isinstance(module, nn.AvgPool2d) or not is_plain(module, nn.AvgPool2d):
        return f"{type(module).__name__} is not an average pooling"
    channels = source.meta["shape"][1]
    try:
        return Layer(name, pooling_of(module, channels, size_of(source), size_of(node)))
    except ValueError as reason:
        return str(reason)
