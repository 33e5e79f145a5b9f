"""The proof is proven: whatever the tracer gets wrong, ``extract`` refuses the network."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from depthopt.errors import ModelError
from depthopt.extraction.extract import extract
from depthopt.graph import in_place, tracer
from depthopt.graph import trace as tracing
from tests.strangers.registry import unlike_fresh

SIZE = (3, 8, 8)


class Everything(nn.Module):
    """A few lines, each of which a tracer may get wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(4, 8, 1)
        self.first, self.second = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.a(x))
        self.act(x)
        y = self.second(self.b(x)) * 0.3
        y = F.relu(y) - x
        return (self.c(y[:, 2:6]) + y).amax((2, 3))


def erase_relu(graph: fx.Graph) -> None:
    (node,) = graph.find_nodes(op="call_function", target=F.relu)
    node.replace_all_uses_with(node.args[0])
    graph.erase_node(node)


def swap_subtraction(graph: fx.Graph) -> None:
    (node,) = graph.find_nodes(op="call_function", target=operator.sub)
    node.args = tuple(reversed(node.args))


def take_neighbour(graph: fx.Graph) -> None:
    (node,) = graph.find_nodes(op="call_module", target="first")
    node.target = "second"


def round_constant(graph: fx.Graph) -> None:
    (node,) = graph.find_nodes(op="call_function", target=operator.mul)
    node.args = (node.args[0], 0.3 + 1e-12)


def shift_slice(graph: fx.Graph) -> None:
    (node,) = graph.find_nodes(op="call_function", target=operator.getitem)
    node.args = (node.args[0], (slice(None), slice(3, 7)))


def read_too_early(graph: fx.Graph) -> None:
    """The skip comes from before the norm."""
    (norm,) = graph.find_nodes(op="call_module", target="first")
    (node,) = graph.find_nodes(op="call_function", target=operator.sub)
    node.replace_input_with(norm, norm.args[0])


def forget_axis(graph: fx.Graph) -> None:
    """The pooling's result has another shape."""
    (node,) = graph.find_nodes(op="call_method", target="amax")
    node.args = (node.args[0], (1, 2))


FAULTS = {
    erase_relu: r"from second on is something else \(test_broken_tracer\.py:",
    swap_subtraction: r"from second on is something else \(test_broken_tracer\.py:",
    take_neighbour: r"ReLU act runs where tracing has second \(test_broken_tracer\.py:",
    round_constant: r"from second on is something else \(test_broken_tracer\.py:",
    shift_slice: r"reaches Conv2d c from second on is something else \(test_broken_tracer\.py:",
    read_too_early: r"from second on is something else \(test_broken_tracer\.py:",
    forget_axis: r"what follows c is something else \(test_broken_tracer\.py:",
}


@pytest.fixture
def network() -> nn.Module:
    return unlike_fresh(Everything())


def test_nothing_is_wrong_with_the_network(network: nn.Module) -> None:
    assert len(extract(network, SIZE).blocks) == 3


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items(), ids=[f.__name__ for f in FAULTS])
def test_a_wrong_graph_is_caught(
    fault: object, reason: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = tracer.Tracer.trace

    def wrong(self: fx.Tracer, root: nn.Module, *args: object) -> fx.Graph:
        graph = right(self, root, *args)
        fault(graph)  # type: ignore[operator]
        return graph

    monkeypatch.setattr(tracer.Tracer, "trace", wrong)
    with pytest.raises(ModelError, match=f"does not understand Everything: .*{reason}"):
        extract(network, SIZE)


def test_writes_that_nobody_observes_are_caught(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written in place reads on as it was; none of it is made out of place."""
    monkeypatch.setattr(tracing, "make_out_of_place", lambda *_: None)
    with pytest.raises(ModelError, match=r"module act \(test_broken_tracer\.py:\d+\) changes"):
        extract(network, SIZE)


def test_writes_that_are_forgotten_are_caught(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations are made out of place, but what reads the tensor later is not told."""

    def forgetful(network: fx.GraphModule, writes: list[in_place.Write]) -> None:
        for write in writes:
            in_place._is_made_out_of_place(network, write.node)
        network.recompile()

    monkeypatch.setattr(tracing, "make_out_of_place", forgetful)
    with pytest.raises(ModelError, match="reaches Conv2d b from act on is something else"):
        extract(network, SIZE)


def test_an_activation_that_is_not_split_off_a_norm_as_it_was_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The parts that a norm+activation module of timm is made of lose its eps."""
    from timm.layers import BatchNormAct2d

    right = tracing._split

    def wrong(both: nn.Module) -> nn.Module:
        parts = right(both)
        parts[0].eps = 1e-3
        return parts

    monkeypatch.setattr(tracing, "_split", wrong)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 4, 1))
    with pytest.raises(ModelError, match=r"what reaches Conv2d 2 from 0 on is something else"):
        extract(unlike_fresh(network), SIZE)
