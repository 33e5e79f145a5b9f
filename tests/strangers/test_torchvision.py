"""All convolutional classifiers of torchvision: random plans over each are exact once fused.

Vision transformers, and networks with their blocks (``vit``, ``swin``, ``maxvit``), are left out.
Every night, or with ``-m nightly``, all of them and five plans; always, one plan over six small
ones.
"""

import gc
import random
import sys

import pytest
import torch
import torchvision
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.shallow.fuse import fuse
from depthopt.tables.importance import ImportanceTable
from tests.strangers.registry import image, unlike_fresh
from tests.zoo.test_zoo import built, difference, drawn

TRANSFORMERS = ("vit_", "swin_", "maxvit_")

ALWAYS = (
    *("mnasnet0_5", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0"),
    "squeezenet1_1",
)
"""Those that take least time."""

PIXELS = {"inception_v3": 96} | {name: 32 for name in ALWAYS if not name.startswith("squeeze")}
"""Heights and widths; 64 where none is named."""

HUGE = 100_000_000
"""Parameters of a network above which one plan must do."""

nightly = pytest.mark.nightly


def _names() -> list[object]:
    names = torchvision.models.list_models(module=torchvision.models)
    convolutional = [name for name in names if not name.startswith(TRANSFORMERS)]
    assert set(ALWAYS) <= set(convolutional)
    return [n if n in ALWAYS else pytest.param(n, marks=nightly) for n in convolutional]


def made(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    if name in {"googlenet", "inception_v3"}:
        options["init_weights"] = False  # that takes seconds
    return torchvision.models.get_model(name, weights=None, **options)


@pytest.fixture(scope="module", params=_names())
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Chain]:
    network, pixels = unlike_fresh(made(request.param)), PIXELS.get(request.param, 64)
    return network, extract(network, (3, pixels, pixels), name=request.param)


_NIGHTS = [pytest.param(seed, True, marks=nightly) for seed in range(5)]


@pytest.mark.parametrize(("seed", "thorough"), [(0, False), *_NIGHTS])
@torch.no_grad()
def test_expanded_and_fused_forms_agree(
    case: tuple[nn.Module, Chain], seed: int, thorough: bool
) -> None:
    network, chain = case
    if thorough:
        gc.collect()  # graphs and their modules refer to each other, and may hold gigabytes
    if seed and sum(weight.numel() for weight in network.parameters()) > HUGE:
        pytest.skip("one plan must do")
    plan = drawn(chain, seed)
    assert plan.replaced
    x = image(chain.input_size)
    expanded = built(network, chain, plan, "expanded")
    wanted = expanded(x)
    assert difference(wanted, fuse(expanded)(x)) < 1e-9, plan.replaced
    if thorough:
        del expanded
        assert difference(wanted, built(network, chain, plan, "fused")(x)) < 1e-9, plan.replaced


def _table(network: nn.Module, pixels: int) -> ImportanceTable:
    """Importances of a few candidates, on random images."""
    chain = extract(network, (3, pixels, pixels), name="net")
    few = _few(candidates(chain, kinds=("drop", "fit", "merge"), max_length=3))
    generator = torch.Generator().manual_seed(0)
    fitting, held_out = torch.randn((2, 8, 3, pixels, pixels), generator=generator)
    return estimate(network, chain, few, fitting=[fitting], held_out=[(held_out, None)])


def _few(found: tuple[Candidate, ...]) -> list[Candidate]:
    replacing = [candidate for candidate in found if candidate.kind != "keep"]
    return random.Random(0).sample(replacing, 12)


@nightly
@pytest.mark.parametrize(("name", "pixels"), [("googlenet", 64), ("inception_v3", 96)])
def test_operations_in_place_change_no_importance(
    name: str, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_place(self: nn.Module, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))

    network = unlike_fresh(made(name, aux_logits=False)).float()
    table = _table(network, pixels)
    home = sys.modules[type(network).__module__]
    monkeypatch.setattr(home.BasicConv2d, "forward", out_of_place)
    assert _table(network, pixels).entries == table.entries
    assert len({entry.cost for entry in table.entries.values()}) > 6
