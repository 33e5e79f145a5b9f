"""A shallow network still answers as its timm model."""

import copy
import functools
import pickle
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from depthopt.errors import ModelError
from depthopt.export.saved import load, save
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.graph.trace import trace
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import Residual, randomised
from tests.plans import plan_of

SIZE = (3, 32, 32)
NAMES = ["mobilenetv2_035", "test_resnet", "repvgg_a0", "tf_mobilenetv3_small_minimal_100"]


@functools.cache
def shallow(name: str) -> tuple[nn.Module, TracedNetwork]:
    """A model, and it with the last segment that few weights replace merged, its norms folded."""
    torch.manual_seed(0)
    model = randomised(timm.create_model(name))
    chain = extract(model, SIZE, name=name)
    merges = (c for c in candidates(chain, kinds=("merge",), fewer_macs=False) if c.kind == "merge")
    last = min(merges, key=lambda candidate: (-candidate.end, candidate.convolution.parameters))
    return model, fuse(apply(model, chain, plan_of(chain, last)))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_features_and_head_make_up_the_network(name: str) -> None:
    model, network = shallow(name)
    x = torch.randn(2, *SIZE)
    features = network.forward_features(x)
    assert features.shape == model.forward_features(x).shape
    torch.testing.assert_close(network.forward_head(features), network(x))
    inner = network.forward_head(features, pre_logits=True)
    assert inner.shape == model.forward_head(features, pre_logits=True).shape
    torch.testing.assert_close(network.get_classifier()(inner), network(x))
    assert network.num_classes == model.num_classes == 1000
    assert timm.data.resolve_model_data_config(network)["mean"] == model.pretrained_cfg["mean"]


def test_features_carry_gradients() -> None:
    network = copy.deepcopy(shallow("mobilenetv2_035")[1])
    network.forward_features(torch.randn(1, *SIZE)).sum().backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if "classifier" not in n)


def test_a_new_classifier() -> None:
    _, network = shallow("mobilenetv2_035")
    copied = copy.deepcopy(network)
    copied.reset_classifier(7)
    assert (copied.num_classes, network.num_classes) == (7, 1000)
    assert copied(torch.randn(2, *SIZE)).shape == (2, 7)
    copied.reset_classifier(0)
    assert copied(torch.randn(2, *SIZE)).shape == (2, 1280)
    copied.reset_classifier(3)
    assert copied(torch.randn(2, *SIZE)).shape == (2, 3)
    with pytest.raises(ModelError, match="keeps its pooling"):
        copied.reset_classifier(3, global_pool="max")


@torch.no_grad()
def test_a_new_classifier_is_saved_and_loaded(tmp_path: Path) -> None:
    model = randomised(timm.create_model("mobilenetv2_035"))
    chain = extract(model, SIZE, name="mobilenetv2_035")
    network = apply(model, chain, plan_of(chain))
    network.reset_classifier(7)
    save(network, tmp_path, plan_of(chain))
    again = load(tmp_path)
    x = torch.randn(1, *SIZE)
    assert again.num_classes == 7
    torch.testing.assert_close(again(x), network(x))


def test_what_the_model_did_not_have_is_not_there() -> None:
    network = trace(Residual(), (2, 8, 8))
    assert not hasattr(network, "forward_features")
    assert not hasattr(network, "num_classes")
    with pytest.raises(ModelError, match="no linear classifier"):
        network.reset_classifier(3)


@pytest.mark.parametrize("protocol", [2, pickle.DEFAULT_PROTOCOL])
def test_a_traced_network_can_be_sent_to_another_process(protocol: int) -> None:
    """``torch.save`` takes protocol 2."""
    model = timm.create_model("mobilenetv2_035", num_classes=3).eval()
    network = trace(model, (3, 32, 32))
    sent = pickle.loads(pickle.dumps(network, protocol))  # noqa: S301 - its own bytes
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(sent(images), network(images))
        assert torch.equal(sent.forward_features(images), network.forward_features(images))
    assert sent.num_classes == 3
    assert sent.get_classifier() is sent.get_submodule("classifier")
    assert sent.meta["conv_macs"] == network.meta["conv_macs"]
    assert [n.meta.get("shape") for n in sent.graph.nodes] == [
        n.meta.get("shape") for n in network.graph.nodes
    ]
