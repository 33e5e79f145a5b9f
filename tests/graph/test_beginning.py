"""Networks that begin alike, and from where they part."""

import copy

import pytest
import timm
import torch
from torch import Tensor, fx, nn

from depthopt.graph.beginning import parted
from depthopt.graph.trace import trace
from depthopt.rewrite.fold import fold_norms
from tests.graph.test_replay import Counted

SIZE = (3, 32, 32)


def network(name: str = "resnet18") -> fx.GraphModule:
    torch.manual_seed(0)
    model = timm.create_model(name).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return trace(model, SIZE)


def folded(whole: fx.GraphModule) -> fx.GraphModule:
    other = copy.deepcopy(whole)
    fold_norms(other, keep_nodes=True)
    return other


def without(whole: fx.GraphModule, target: str) -> fx.GraphModule:
    """What reads a module's output reads its input."""
    other = copy.deepcopy(whole)
    node = next(n for n in other.graph.nodes if n.target == target)
    node.replace_all_uses_with(node.all_input_nodes[0])
    other.graph.erase_node(node)
    other.recompile()
    return other


@torch.no_grad()
def outputs(rest: fx.GraphModule, batch: dict[str, Tensor]) -> Tensor:
    names = [n.target for n in rest.graph.nodes if n.op == "placeholder"]
    return rest(*(batch[name] for name in names))


@torch.no_grad()
def test_the_rests_give_what_the_networks_give() -> None:
    whole = network()
    first, second, batches = without(whole, "layer3.0.act1"), folded(whole), Counted()
    batches.batches = [batch.double() for batch in batches.batches]
    parts = parted(first, second, batches, "layer3_0_bn1")
    assert len(parts.first.graph.nodes) < 0.7 * len(first.graph.nodes)
    for _ in range(2):
        for images, begun in zip(batches.batches, parts.batches, strict=True):
            for rest, own in ((parts.first, first), (parts.second, second)):
                torch.testing.assert_close(outputs(rest, begun), own(images))
    assert batches.passes == 1
    changed = "layer4.0.conv1"
    assert parts.first.get_submodule(changed) is first.get_submodule(changed)


@pytest.mark.parametrize(
    ("without_first", "alike"),
    [("layer3.0.bn1", "layer3_0_conv1"), ("conv1", "x"), ("layer3.0.act1", None)],
)
def test_networks_that_cannot_share_their_beginning_stay_whole(
    without_first: str, alike: str | None
) -> None:
    """Behind a convolution whose norm is folded into it in one of them; or before any layer."""
    whole, batches = network(), Counted()
    first, second = without(whole, without_first), folded(whole)
    parts = parted(first, second, batches, alike)
    assert (parts.first, parts.second, parts.batches) == (first, second, batches)


def test_they_part_where_a_layer_may_have_changed_in_place() -> None:
    whole, batches = network(), Counted()
    first, second = copy.deepcopy(whole), folded(whole)
    parts = parted(first, second, batches, "layer2_0_act2")
    calls = {n.target for n in parts.first.graph.nodes if n.op == "call_module"}
    assert {"layer2.1.conv1", "layer4.1.act2"} < calls
    assert "layer2.0.act2" not in calls
