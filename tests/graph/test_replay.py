"""Passes over the same batches, each from where the last one got to."""

from collections import Counter

import pytest
import timm
import torch

from depthopt.graph.partial import record
from depthopt.graph.replay import Replay, Wish
from depthopt.graph.trace import trace

SIZE = (3, 32, 32)


class Counted:
    """Batches that know how often they were gone through."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [torch.randn(2, *SIZE, generator=generator) for _ in range(3)]
        self.passes = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __contains__(self, batch: object) -> bool:
        return batch in self.batches

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return trace(timm.create_model("resnet18"), SIZE), trace(
        timm.create_model("mobilenetv2_035"), SIZE
    )


def convolutions(network):
    modules = dict(network.named_modules())
    return [
        node
        for node in network.graph.nodes
        if isinstance(modules.get(str(node.target)), torch.nn.Conv2d)
    ]


@pytest.mark.parametrize("most_bytes", [0, 100_000, 2**28])
def test_values_are_the_networks_own_whatever_is_kept(networks, most_bytes):
    batches = Counted()
    replay = Replay(networks, batches, most_bytes=most_bytes)
    cuts = [list(convolutions(network)) for network in networks]
    for own, other in list(zip(*cuts, strict=False))[::3]:
        wishes = [
            Wish(frozenset({node.name, node.all_input_nodes[0].name}), node)
            for node in (own, other)
        ]
        for images, found in zip(batches.batches, replay(*wishes), strict=True):
            for network, wish, values in zip(networks, wishes, found, strict=True):
                expected = record(network, images, wish.names)
                assert values.keys() == expected.keys()
                for name, value in values.items():
                    torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_what_fits_into_memory_is_run_and_read_once(networks):
    batches, ran = Counted(), []
    network = networks[0]
    replay = Replay((network,), batches)
    handles = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: ran.append(name))
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    nodes = convolutions(network)
    for node in nodes:
        list(replay(Wish(frozenset({node.all_input_nodes[0].name}), node)))
    for handle in handles:
        handle.remove()
    assert batches.passes == 1
    assert Counter(ran) == {str(node.target): len(batches) for node in nodes[:-1]}


def test_weights_behind_the_cut_may_change(networks):
    batches, network = Counted(), networks[1]
    replay = Replay((network,), batches)
    first, second = convolutions(network)[3:5]
    list(replay(Wish(frozenset({first.name}), first)))
    with torch.no_grad():
        network.get_submodule(str(first.target)).weight.mul_(2)
    (expected, *_) = (record(network, images, {second.name}) for images in batches.batches)
    (found, *_) = [f for (f,) in replay(Wish(frozenset({second.name}), second))]
    torch.testing.assert_close(found[second.name], expected[second.name], rtol=0, atol=0)


def test_a_value_from_before_the_cut_is_run_anew(networks):
    batches, network = Counted(), networks[0]
    replay = Replay((network,), batches)
    nodes = convolutions(network)
    list(replay(Wish(frozenset({nodes[8].name}), nodes[8])))
    for images, (found,) in zip(
        batches.batches, replay(Wish(frozenset({nodes[1].name}), nodes[1])), strict=True
    ):
        expected = record(network, images, {nodes[1].name})
        torch.testing.assert_close(found[nodes[1].name], expected[nodes[1].name], rtol=0, atol=0)
