"""Networks that are not classifiers: extracted, exact once fused, exported with their outputs.

Always some small ones; every night all of torchvision's networks for segmentation, the backbones
of its detectors, and the pyramids of timm.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from torch import nn

from depthopt.core.chain import Chain
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.graph.outputs import leaves, output_of
from depthopt.kinds.candidates import candidates
from depthopt.runtimes.registry import get_runtime
from depthopt.shallow.fuse import fuse
from recipes.networks import unet
from tests.networks import randomised
from tests.plans import plan_of
from tests.zoo.dense import EDSR, Yolo
from tests.zoo.test_zoo import built, difference, drawn, image

_SEGMENTATION = torchvision.models.segmentation
_DETECTION = torchvision.models.detection


def _segmentation(name: str) -> Callable[[], nn.Module]:
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    make: Any = getattr(_SEGMENTATION, name)
    return lambda: make(weights=None, weights_backbone=None, num_classes=5, **auxiliary)


def _backbone(name: str) -> Callable[[], nn.Module]:
    make: Any = getattr(_DETECTION, name)
    return lambda: make(weights=None, weights_backbone=None).backbone


PYRAMIDS = (
    *("resnet18", "resnet50", "resnetv2_50", "regnety_002", "regnetx_002", "mobilenetv2_100"),
    *(
        "mobilenetv3_small_100",
        "efficientnet_b0",
        "efficientnet_lite0",
        "mnasnet_small",
        "vgg11_bn",
    ),
    *("densenet121", "dla34", "hrnet_w18_small", "cspresnet50", "vgg11_bn"),
)

SMALL: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: unet(num_classes=4, width=8),
    "edsr": EDSR,
    "yolo": Yolo,
    "resnet18 pyramid": lambda: timm.create_model("resnet18", features_only=True),
}

LARGE: dict[str, Callable[[], nn.Module]] = {
    **{
        name: _segmentation(name)
        for name in (
            *("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"),
            *("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
        )
    },
    **{
        f"{name} backbone": _backbone(name)
        for name in (
            *("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn"),
            *("fasterrcnn_mobilenet_v3_large_fpn", "fcos_resnet50_fpn", "ssd300_vgg16"),
            "ssdlite320_mobilenet_v3_large",
        )
    },
    **{
        f"{name} pyramid": lambda name=name: timm.create_model(name, features_only=True)
        for name in PYRAMIDS
    },
}

NAMES = [
    *SMALL,
    *(pytest.param(name, marks=pytest.mark.nightly) for name in LARGE if name not in SMALL),
]
SIZE = (3, 64, 64)
SIZES = {"ssd300_vgg16 backbone": (3, 300, 300)}
"""Of those that take no small images."""


@lru_cache(maxsize=1)
def made(name: str) -> tuple[nn.Module, Chain]:
    torch.manual_seed(0)
    network = randomised((SMALL | LARGE)[name]()).double()
    return network, extract(network, SIZES.get(name, SIZE), name=name)


def replaceable(chain: Chain) -> float:
    """The share of multiply-accumulates in blocks that some candidate replaces."""
    found = [c for c in candidates(chain, kinds=("drop", "fit"), max_length=8) if c.replaces]
    blocks = {i for c in found for i in range(c.start, c.end)}
    return sum(chain.blocks[i].macs for i in blocks) / chain.conv_macs


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_it_is_extracted_and_exact_once_fused(name: str) -> None:
    network, chain = made(name)
    x = image(chain, torch.float64)
    wanted = leaves(network, network(x))
    kept = built(network, chain, plan_of(chain), "fused")
    found = leaves(kept, kept(x))
    assert list(found) == list(wanted)
    assert all(difference(wanted[k], found[k]) < 1e-12 for k in wanted)
    plan = drawn(chain, 0)
    expanded, fused = (built(network, chain, plan, form) for form in ("expanded", "fused"))
    for other in (fused, fuse(expanded)):
        assert difference(output_of(expanded, x), output_of(other, x)) < 1e-9, plan.replaced
    assert any(choice.replaces for choice in plan.choices)
    assert replaceable(chain) >= 0.5, [str(b.reason) for b in chain.barriers]


@pytest.mark.parametrize("name", NAMES)
def test_its_file_has_all_its_outputs(name: str, tmp_path: Any) -> None:
    network = made(name)[0].float()
    images = torch.rand(2, *SIZES.get(name, SIZE), generator=torch.Generator().manual_seed(0))
    export_onnx(network, tmp_path / "net.onnx", images=images, batch=2, task="matching")
    with torch.no_grad():
        wanted = leaves(network, network(images))
    file = onnx.load(tmp_path / "net.onnx")
    assert [o.name for o in file.graph.output] == [f"output_{k}" if k else "output" for k in wanted]
    for runtime in ("onnxruntime", "openvino", "torch"):
        session = get_runtime(runtime).compile(tmp_path / "net.onnx")
        outputs = session.run({"image": images.numpy()})
        for one, other in zip(wanted.values(), outputs, strict=True):
            assert difference(one, torch.from_numpy(np.array(other))) < 1e-4
    made.cache_clear()
