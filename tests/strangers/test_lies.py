"""Networks that are not what they seem: each is kept exactly, or caught with a reason.

Exactly means: equal to the original, bit for bit, on two seeds, on batches of 1, 2 and 3, in three
calls in a row; and fused, to rounding.
"""

import random
import types
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune

from depthopt.errors import ModelError
from depthopt.extraction.extract import chain_of, extract
from depthopt.graph.trace import trace
from depthopt.shallow.fuse import fuse
from tests.strangers.registry import image, unlike_fresh
from tests.zoo.test_zoo import difference

SIZE = (3, 8, 8)


class Plain(nn.Module):
    """Two convolutions with a norm each, and ``between`` between them, which lies."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn, self.act = nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU()
        self.b, self.norm = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
        self.prepare()

    def prepare(self) -> None:
        """What a subclass adds."""

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.act(self.bn(self.a(x))))
        return self.head(self.norm(self.b(x)).mean((2, 3)))


Lie = Callable[[], nn.Module]
EXACT: dict[str, Lie] = {}
CAUGHT: dict[str, tuple[Lie, str]] = {}


def exact(make: Lie) -> Lie:
    EXACT[make.__name__] = make
    return make


def caught(reason: str) -> Callable[[Lie], Lie]:
    def registered(make: Lie) -> Lie:
        CAUGHT[make.__name__] = (make, reason)
        return make

    return registered


def kept_exactly(network: nn.Module) -> None:
    """Fail unless what is traced is the network, fused or not."""
    traced = trace(network, SIZE)
    assert chain_of(traced, SIZE, "network").blocks
    fused = fuse(traced)
    with torch.no_grad():
        for seed, batch in [(seed, batch) for seed in (0, 1) for batch in (1, 2, 3)]:
            x = image(SIZE, seed=seed, batch=batch)
            for _ in range(3):
                wanted = _seeded(network, x)
                assert torch.equal(wanted, _seeded(traced, x))
            assert difference(wanted, _seeded(fused, x)) < 1e-9


def _seeded(network: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(3)
    return network(x.clone())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


# Hooks and what else is called with a module.


@caught("RootHook itself carries a hook, which tracing would lose; remove it")
def hook_on_the_root() -> nn.Module:
    class RootHook(Plain):
        pass

    network = RootHook()
    network.register_forward_hook(lambda _, __, output: 2 * output)
    return network


@exact
def hook_on_a_convolution() -> nn.Module:
    network = Plain()
    network.b.register_forward_hook(lambda _, __, output: 2 * output)
    return network


@exact
def hook_on_a_norm() -> nn.Module:
    network = Plain()
    network.norm.register_forward_pre_hook(lambda _, args: (2 * args[0],))
    return network


@exact
def pruned() -> nn.Module:
    network = Plain()
    prune.l1_unstructured(network.b, "weight", 0.5)
    return network


@exact
def patched_convolution() -> nn.Module:
    network = Plain()
    network.b.forward = lambda x: 2 * nn.Conv2d.forward(network.b, x)
    return network


@exact
def patched_inside() -> nn.Module:
    """``_conv_forward`` of an instance, which ``forward`` calls."""
    network = Plain()
    network.b._conv_forward = lambda x, weight, bias: F.conv2d(x, 2 * weight, bias, 1, 1)
    return network


@exact
def patched_activation() -> nn.Module:
    network = Plain()
    network.act.forward = types.MethodType(lambda _, x: -x, network.act)
    return network


@caught("tracing does not understand Plain: what follows head is something else")
def patched_root() -> nn.Module:
    network = Plain()
    network.forward = types.MethodType(lambda self, x: 2 * Plain.forward(self, x), network)
    return network


# Subclasses that do something else.


@exact
def convolution_with_a_skip() -> nn.Module:
    class Conv2d(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x

    network = Plain()
    network.b = Conv2d(4, 4, 3, 1, 1)
    return network


@exact
def norm_that_doubles() -> nn.Module:
    class BatchNorm2d(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    network = Plain()
    network.norm = BatchNorm2d(4)
    return network


@exact
def activation_that_shifts() -> nn.Module:
    class ReLU(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - 1

    network = Plain()
    network.act = ReLU()
    return network


@caught(r"Called b gives something else \(test_lies\.py:\d+\)")
def call_overridden() -> nn.Module:
    class Called(nn.Conv2d):
        def __call__(self, x: Tensor) -> Tensor:
            return 2 * super().__call__(x)

    network = Plain()
    network.b = Called(4, 4, 3, 1, 1)
    return network


@caught("tracing does not understand Whole: what follows head is something else")
def call_of_the_root_overridden() -> nn.Module:
    class Whole(Plain):
        def __call__(self, x: Tensor) -> Tensor:
            return 2 * super().__call__(x)

    return Whole()


# What a network remembers.


@caught("calls changes whenever the network runs, .*from 0 to 1 to 2")
def counter() -> nn.Module:
    class Counts(Plain):
        calls = 0

        def between(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x if self.calls < 9 else -x

    network = Counts()
    network.calls = 0
    return network


@caught(r"info\['n'\] changes whenever the network runs")
def counter_in_a_dictionary() -> nn.Module:
    class Counts(Plain):
        def prepare(self) -> None:
            self.info = {"n": 0}

        def between(self, x: Tensor) -> Tensor:
            self.info["n"] += 1
            return x if self.info["n"] < 9 else -x

    return Counts()


@caught(r"info.* changes whenever the network runs")
def counter_deep_in_a_dictionary() -> nn.Module:
    class Counts(Plain):
        def prepare(self) -> None:
            self.info = {"calls": {"n": 0}}

        def between(self, x: Tensor) -> Tensor:
            self.info["calls"]["n"] += 1
            return x if self.info["calls"]["n"] < 9 else -x

    return Counts()


@caught("_seen.* changes whenever the network runs")
def growing_list() -> nn.Module:
    class Counts(Plain):
        def prepare(self) -> None:
            self._seen: list[int] = []

        def between(self, x: Tensor) -> Tensor:
            self._seen.append(len(self._seen))
            return x if len(self._seen) < 9 else -x

    return Counts()


@caught("n changes whenever the network runs, .*from 1 to 2 to 3")
def buffer_counts() -> nn.Module:
    class Counts(Plain):
        def prepare(self) -> None:
            self.register_buffer("n", torch.zeros(()))

        def between(self, x: Tensor) -> Tensor:
            self.n += 1
            return x * self.n

    return Counts()


@caught("gives something else when it runs again on the same inputs; it remembers last")
def remembers_features() -> nn.Module:
    class Remembers(Plain):
        def prepare(self) -> None:
            self.last: Tensor | None = None

        def between(self, x: Tensor) -> Tensor:
            y = x if self.last is None else x + self.last
            self.last = x.mean()
            return y

    return Remembers()


CALLS = [0]


@caught("tracing does not understand Switches: what follows head is something else")
def global_counter() -> nn.Module:
    CALLS[0] = 0

    class Switches(Plain):
        def between(self, x: Tensor) -> Tensor:
            CALLS[0] += 1
            return x if CALLS[0] < 2 else -x

    return Switches()


@caught(r"tracing does not understand Flag: .* \(test_lies\.py:\d+")
def flag_of_the_class() -> nn.Module:
    class Flag(Plain):
        flag = True

        def between(self, x: Tensor) -> Tensor:
            type(self).flag = not self.flag
            return x if self.flag else -x

    return Flag()


@caught(r"Conv2d b gives something else \(test_lies\.py:\d+\): .* its weights change")
def writes_its_weight() -> nn.Module:
    class Decays(Plain):
        def between(self, x: Tensor) -> Tensor:
            self.b.weight.data.mul_(0.9)
            return x

    return Decays()


# What is written in place.


@caught(r"mul_ \(test_lies\.py:\d+\) writes into a tensor that is read elsewhere through a view")
def view_is_written() -> nn.Module:
    class Views(Plain):
        def between(self, x: Tensor) -> Tensor:
            v = x[:, :2]
            v.mul_(2)
            return x

    return Views()


class Writes(nn.Module):
    """Cannot be traced, and writes its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().sum() >= 0:
            x.mul_(2)
        return x.mean((2, 3), keepdim=True)


@exact
def opaque_module_writes_its_input() -> nn.Module:
    class Net(Plain):
        def prepare(self) -> None:
            self.opaque = Writes()

        def between(self, x: Tensor) -> Tensor:
            return self.opaque(x) * x + x

    return Net()


# Chance.


@caught(r"Chance cannot be traced at test_lies\.py:\d+: it draws random numbers")
def random_constant() -> nn.Module:
    class Chance(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x * torch.randn(4, 1, 1)

    return Chance()


@caught(r"Chance cannot be traced at test_lies\.py:\d+: it draws random numbers")
def random_number_of_python() -> nn.Module:
    class Chance(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x * random.random()

    return Chance()


@exact
def random_in_the_graph() -> nn.Module:
    class Noisy(Plain):
        def between(self, x: Tensor) -> Tensor:
            return F.dropout(x + torch.randn_like(x), 0.5, training=True)

    return Noisy()


def test_a_seed_set_before_does_not_hide_a_random_constant() -> None:
    for seed in range(3):
        network = unlike_fresh(random_constant())
        torch.manual_seed(seed)
        with pytest.raises(ModelError, match=r"Chance cannot .* draws random numbers"):
            extract(network, SIZE)


# Modes and contexts.


@exact
def norm_stays_in_evaluation() -> nn.Module:
    class Frozen(Plain):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self.bn.eval()
            return self

    return Frozen()


@caught("drop stays in training mode when the model is set to evaluate")
def evaluation_leaves_dropout_on() -> nn.Module:
    class Lively(Plain):
        def prepare(self) -> None:
            self.drop = nn.Dropout(0.5)

        def between(self, x: Tensor) -> Tensor:
            return self.drop(x)

        def eval(self) -> "Lively":
            super().eval()
            self.drop.train()
            return self

    return Lively()


@caught(r"test_lies\.py:\d+: it runs in part without gradients")
def no_gradients_inside() -> nn.Module:
    class Frozen(Plain):
        def between(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.relu(x)

    return Frozen()


@caught(r"test_lies\.py:\d+: it runs in part .* in another precision")
def autocast_inside() -> nn.Module:
    class Mixed(Plain):
        def between(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return torch.relu(x)

    return Mixed()


# Weights that nobody sees.


@exact
def weights_by_parameters() -> nn.Module:
    class Reads(Plain):
        def between(self, x: Tensor) -> Tensor:
            *_, last = (weight for weight in self.parameters() if weight.dim() == 4)
            return F.conv2d(x, last, padding=1)

    return Reads()


@caught(r"test_lies\.py:\d+: it computes with weights that tracing does not see it read")
def weights_computed_by_parameters() -> nn.Module:
    class Reads(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x * torch.stack([weight.abs().mean() for weight in self.parameters()]).mean()

    return Reads()


@caught(r"test_lies\.py:\d+: it runs a Conv2d that is not part of it; hold that in")
def module_in_a_plain_list() -> nn.Module:
    class Hides(Plain):
        def prepare(self) -> None:
            self.hidden = [nn.Conv2d(4, 4, 3, 1, 1).double()]

        def between(self, x: Tensor) -> Tensor:
            return self.hidden[0](x)

    return Hides()


@exact
def activation_in_a_plain_list() -> nn.Module:
    class Hides(Plain):
        def prepare(self) -> None:
            self.hidden = [nn.Tanh()]

        def between(self, x: Tensor) -> Tensor:
            return self.hidden[0](x)

    return Hides()


@caught(r"mul \(test_lies\.py:\d+\) reads k of the original through a function")
def closure_over_a_buffer() -> nn.Module:
    """Functions are not copied with what holds them: this one reads the original's buffer."""

    class Closes(Plain):
        def prepare(self) -> None:
            self.register_buffer("k", torch.randn(4, 1, 1))
            self.scale = lambda x: x * self.k

        def between(self, x: Tensor) -> Tensor:
            return self.scale(x)

    return Closes()


# What depends on the data.


@caught(r"test_lies\.py:\d+.*module of its own")
def branch_on_data() -> nn.Module:
    class Branches(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x if x.mean() > 0 else -x

    return Branches()


class Turns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[0] > 1 else -x


@exact
def branch_on_the_batch() -> nn.Module:
    class Branches(Plain):
        def prepare(self) -> None:
            self.turns = Turns()

        def between(self, x: Tensor) -> Tensor:
            return self.turns(x)

    return Branches()


@exact
def size_of_the_batch() -> nn.Module:
    class Sizes(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x * x.shape[0] - x.mean(0, keepdim=True)

    return Sizes()


@caught("the model refuses an input of 3x8x8: shape")
def batch_of_two_alone() -> nn.Module:
    class Two(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x.view(2, 4, 8, 8)

    return Two()


@caught(r"tracing does not understand Spies: .*test_lies\.py:\d+")
def knows_that_it_is_traced() -> nn.Module:
    class Spies(Plain):
        def between(self, x: Tensor) -> Tensor:
            return x if isinstance(x, Tensor) else -x

    return Spies()


_SELDOM = {
    *("hook_on_a_norm", "patched_activation", "convolution_with_a_skip", "activation_that_shifts"),
    *("activation_in_a_plain_list", "branch_on_the_batch", "norm_stays_in_evaluation"),
}
"""Those that are tried by night alone."""


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, marks=pytest.mark.nightly) if name in _SELDOM else make
        for name, make in EXACT.items()
    ],
    ids=EXACT,
)
def test_a_lie_is_kept_exactly(make: Lie) -> None:
    kept_exactly(unlike_fresh(make()))


@pytest.mark.parametrize(("make", "reason"), CAUGHT.values(), ids=CAUGHT)
def test_a_lie_is_caught(make: Lie, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        extract(unlike_fresh(make()), SIZE)


@pytest.fixture(params=[nn.Conv2d, nn.BatchNorm2d, nn.ReLU])
def _hooked_everywhere(request: pytest.FixtureRequest) -> Iterator[None]:
    handle = register_module_forward_hook(
        lambda module, _, output: 2 * output if type(module) is request.param else None
    )
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.usefixtures("_hooked_everywhere")
def test_a_hook_on_all_modules_is_kept_or_caught() -> None:
    network = unlike_fresh(Plain())
    try:
        kept_exactly(network)
    except ModelError as error:
        assert "hook" in str(error)  # noqa: PT017 - either will do
