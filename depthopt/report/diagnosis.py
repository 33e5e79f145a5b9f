"""What depthopt understands of a network, what it leaves out, and what was proven of it."""

import platform
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from torch import nn

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs, InputSize, size_text
from depthopt.errors import DepthoptError
from depthopt.extraction.coverage import reducible_share, untimed_share
from depthopt.extraction.extract import extract
from depthopt.graph.trace import trace
from depthopt.graph.training import FollowsTraining
from depthopt.kinds.candidates import candidates
from depthopt.kinds.registry import KINDS, kind_of
from depthopt.shallow.prove import Finding, prove

_PACKAGES = (
    "depthopt", "torch", "torchvision", "timm", "numpy", "numba", "onnx", "onnxruntime",
    "openvino", "tensorrt", "tensorrt-rtx-cu13",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a bug report or a user in doubt needs to know about a network.

    Attributes:
        model: its name.
        about: its class, size, type and place.
        refused: why it cannot be used; None if it can.
        understood: its blocks, skips, and what is random in training.
        left_out: what no plan can replace, and why.
        exact: what replacing keeps, and what it does not.
        proof: what was compared, and how it came out.
        versions: of what is installed.
    """

    model: str
    about: str
    refused: str | None = None
    understood: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    proof: tuple[Finding, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether the network can be used, and every comparison was equal."""
        return self.refused is None and not any(part.holds is False for part in self.proof)


def diagnose(
    model: nn.Module,
    input_size: InputSize,
    *,
    name: str | None = None,
    images: Inputs | None = None,
) -> Diagnosis:
    """Extract a network, and prove all that can be proven quickly.

    A network that cannot be used is not an error here: ``refused`` says why.

    Args:
        model: maps (N, C, H, W), or several named inputs, to one tensor; it is not changed.
        input_size: (C, H, W), or the named inputs.
        name: of the model; its class by default.
        images: real ones (N, C, H, W), or named inputs, to compare outputs on too.
    """
    name = name or type(model).__name__
    about, versions = _about(model, input_size), _versions()
    try:
        chain = extract(model, input_size, name=name)
        proof = prove(model, input_size, images=images)
        traced = trace(model, input_size, proven=False)  # it has just been
    except DepthoptError as error:
        return Diagnosis(name, about, refused=str(error), versions=versions)
    return Diagnosis(
        name,
        about,
        understood=tuple(_understood(traced, chain)),
        left_out=tuple(_left_out(chain)),
        exact=tuple(_exact(chain)),
        proof=proof,
        versions=versions,
    )


def _about(model: nn.Module, input_size: InputSize) -> str:
    kind = type(model)
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    try:
        number = f"{sum(weight.numel() for weight in weights):,} parameters"
    except (RuntimeError, ValueError):
        number = "parameters without a shape"
    types = sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})
    places = sorted({str(weight.device) for weight in weights})
    return (
        f"{kind.__module__}.{kind.__qualname__} at {size_text(input_size)}, {number}, "
        f"{' and '.join(types) or 'no type'}, on {' and '.join(places) or 'no device'}"
    )


def _understood(traced: nn.Module, chain: Chain) -> Iterator[str]:
    active = sum(block.activation is not None for block in chain.blocks)
    yield f"{_many(len(chain.blocks), 'block')}, {active} of them with an activation"
    if chain.skips:
        layers = sum(bool(skip.branch) for skip in chain.skips)
        gated = sum(skip.gated for skip in chain.skips)
        yield (
            f"{_many(len(chain.skips), 'skip')}, {layers} with layers, {gated} around "
            "something that is not a block"
        )
    merging, replaced = reducible_share(chain, merging=True), reducible_share(chain)
    macs = chain.conv_macs + chain.other_macs
    yield (
        f"of {macs / 1e6:,.1f} million multiply-accumulates, {replaced:.1%} lie in "
        f"segments longer than one block, {merging:.1%} in segments that merge into one"
    )
    if untimed := untimed_share(chain):
        yield (
            f"{untimed:.1%} lie around blocks and go with them, and no latency table times them: "
            "plans without them are faster than predicted"
        )
    random = [f"{path} ({module})" for path, module in traced.named_modules() if _is_random(module)]
    if random:
        yield f"random in training, and kept so: {', '.join(random)}"


def _is_random(module: nn.Module) -> bool:
    rate = getattr(module, "p", None) or getattr(module, "drop_prob", None)
    name = type(module).__name__
    known = bool(rate) and ("Drop" in name or name == "StochasticDepth")
    return known or isinstance(module, FollowsTraining)


def _left_out(chain: Chain) -> Iterator[str]:
    yield from (f"{unused.node}: {unused.reason}" for unused in chain.unused)
    for barrier in chain.barriers:
        before, behind = chain.blocks[barrier.position - 1], chain.blocks[barrier.position]
        part = ""
        if barrier.region is not None:
            start, end = barrier.region
            first, last = chain.blocks[start].name, chain.blocks[end - 1].name
            part = f"; {first} to {last} can be replaced as a whole"
        yield f"between {before.name} and {behind.name}: {barrier.reason}{part}"


def _exact(chain: Chain) -> Iterator[str]:
    yield "a block that is kept computes the same, bit for bit; fused, to rounding"
    by_kind: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in replacing(candidates(chain, kinds=KINDS.own)):
        by_kind[candidate.kind].append(candidate)
    for name, members in by_kind.items():
        one, kind = members[0], kind_of(members[0])
        what = "not exact: regressed on images, and scored"
        if kind.is_composition(one):
            what = "composed exactly, less the activations in between"
        elif kind.stand_in is not None:
            what = "not exact: other weights stand in, and are scored"
        elif kind.problem(one, "fused") is None:
            what = "what is left computes the same"
        yield f"{_many(len(members), 'candidate')} of kind {name}: {what}"


def _many(number: int, one: str) -> str:
    return f"{number} {one if number == 1 else one + 's'}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
