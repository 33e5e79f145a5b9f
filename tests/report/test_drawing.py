import pydot

from depthopt.core.chain import Barrier, Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.report.dot import chain_dot
from depthopt.report.drawing import chain_svg


def chain() -> Chain:
    spec = Convolution(3, 3, (3, 3), padding=(1, 1, 1, 1))
    layout, relu = Layout(3, (8, 8), 3, (8, 8)), Activation("relu")
    blocks = tuple(Block(f"layer{i}", spec, layout, relu, "x", "y", "y", "z") for i in range(4))
    skip = Skip(0, 2, "add", "x")
    barrier = Barrier(3, "pool", 'MaxPool2d "pool"')
    return Chain("net", (3, 8, 8), blocks, (skip,), (barrier,), ())


def test_dot_has_a_node_a_block_and_an_edge_a_skip() -> None:
    (graph,) = pydot.graph_from_dot_data(chain_dot(chain()))
    assert [node.get_name() for node in graph.get_nodes() if node.get_name() != "node"] == [
        "b0", "b1", "b2", "b3",
    ]  # fmt: skip
    dashed = [e for e in graph.get_edges() if e.get("style") == "dashed"]
    assert [(e.get_source(), e.get_destination()) for e in dashed] == [("b0", "b1")]
    labels = [str(edge.get("label")) for edge in graph.get_edges()]
    assert any('MaxPool2d \\"pool\\"' in label for label in labels)


def test_svg_is_whole_and_repeatable() -> None:
    picture = chain_svg(chain())
    assert picture.rstrip().endswith(b"</svg>")
    assert b"layer3" in picture
    assert chain_svg(chain()) == picture
