"""A part of a larger network: record what it gets, and put a faster one in its place."""

import difflib
import hashlib
import inspect
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from depthopt.core.clipped import clipped
from depthopt.core.counted import counted
from depthopt.core.inputs import Input, Inputs, InputSize, InputSpec, first
from depthopt.data.dataset import Dataset, calibration_split, stratified
from depthopt.data.given import IN_MEMORY
from depthopt.data.tensors import TensorSplit
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.graph.original import deepcopied
from depthopt.graph.verify import evaluating

MOST_EXAMPLES = 4096
"""Default number of examples that are recorded at most."""

_TESTED = 5
"""One example in this many is tested on."""

_IMAGES = 4
"""Number of dimensions of a batch of images."""

_SAMPLE = 16
"""Number of examples that go into the digest."""

_ROUNDS, _SECONDS = 5, 20.0
"""How often two networks are timed in turn at least, and for how long at most."""

Call = Callable[[nn.Module, Any], object]
"""(network, batch): runs the whole network on what one batch holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A submodule of a network, with what it gets while the whole network runs.

    Attributes:
        whole: the network; it is not changed.
        name: path of the submodule in it, such as ``backbone.body``.
        data: what it got, in three splits without targets.
        batch: what the whole network was first called with.
        call: how it is called.
    """

    whole: nn.Module
    name: str
    data: Dataset
    batch: Any
    call: Call

    @property
    def module(self) -> nn.Module:
        """The submodule."""
        return self.whole.get_submodule(self.name)

    def put_back(self, network: nn.Module) -> nn.Module:
        """A copy of the whole network with another one in the part's place.

        Plain attributes of the part, such as ``out_channels``, stay where they were.
        """
        whole, part = deepcopied(self.whole).eval(), self.module
        new = deepcopied(network).eval()
        for key, value in vars(part).items():
            if not key.startswith("_") and key != "training" and not hasattr(new, key):
                setattr(new, key, value)
        whole.set_submodule(self.name, new)
        return whole

    def speedup(self, whole: nn.Module) -> float:
        """How many times as fast as the original a whole network is, in eager mode on a batch."""
        ratios, begin = list[float](), time.monotonic()
        with evaluating(self.whole), evaluating(whole):
            for network in (self.whole, whole):
                self.call(network, self.batch)
            while (len(ratios) < _ROUNDS and time.monotonic() - begin < _SECONDS) or not ratios:
                original, other = (self._seconds(network) for network in (self.whole, whole))
                ratios.append(original / other)
        return statistics.median(ratios)

    def _seconds(self, network: nn.Module) -> float:
        begin = time.perf_counter()
        self.call(network, self.batch)
        return time.perf_counter() - begin


def part_of(
    model: nn.Module,
    name: str,
    batches: Iterable[Any],
    *,
    call: Call | None = None,
    calibration_images: int | None = None,
    most: int = MOST_EXAMPLES,
    seed: int = 0,
) -> Part:
    """Run a network on batches, and record what one of its submodules gets.

    What the network does around the part need not be traced: loops over images, or non-maximum
    suppression.

    Args:
        model: the whole network; it runs in evaluation mode, and its mode is restored.
        name: path of the submodule, such as ``backbone.body``. It must be called once a batch, with
            tensors that have a row for each example.
        batches: what the network is called with, one after another.
        call: how; by default ``model(batch)``.
        calibration_images: examples held out from what is trained on; by default 512, or a fifth
            where that is less.
        most: number of examples to record; further batches are not drawn.
        seed: of the choice of what is held out.

    Raises:
        UsageError: there is no such submodule.
        ModelError: it is not called, or more than once a batch, or not with tensors alone.
        DataError: there are no batches, the examples differ in size, or they are too few.
    """
    call = call or _call
    part = _submodule(model, name)
    recorded, seen, started = list[Inputs](), 0, list[Any]()
    with evaluating(model), _Recorder(part, name) as recorder:
        for batch in batches:
            call(model, batch)
            recorded.append(recorder.taken())
            started = started or [batch]
            seen += len(_first(recorded[-1]))
            if seen >= most:
                break
    if not recorded:
        raise DataError(f"there are no batches to record what {name} gets; give some")
    inputs = first(_joined(recorded, name), most)
    return Part(model, name, _divided(inputs, calibration_images, seed), started[0], call)


def _call(network: nn.Module, batch: Any) -> object:
    return network(batch)


def _submodule(model: nn.Module, name: str) -> nn.Module:
    names = [own for own, _ in model.named_modules() if own]
    if name in names:
        return model.get_submodule(name)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    children = ", ".join(own for own, _ in model.named_children())
    raise UsageError(
        f"{type(model).__name__} has no part {clipped(name)}; {hint}its own are {children}"
    )


class _Recorder:
    """Keeps what a module is called with."""

    def __init__(self, part: nn.Module, name: str) -> None:
        self._part, self._name = part, name
        self._calls = list[Inputs]()

    def __enter__(self) -> Self:
        self._hook = self._part.register_forward_pre_hook(self._record, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def taken(self) -> Inputs:
        """What it got since this was asked last.

        Raises:
            ModelError: it was not called once.
        """
        calls, self._calls = self._calls, []
        if len(calls) != 1:
            how = "not called" if not calls else f"called {len(calls)} times"
            raise ModelError(
                f"the part {self._name} is {how} for one batch, expected once; name another part, "
                "such as one around or inside it"
            )
        return calls[0]

    def _record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        for key, value in given.items():
            if not isinstance(value, Tensor) or not value.dim():
                raise ModelError(
                    f"the part {self._name} is called with a {type(value).__name__} for {key}, "
                    "expected tensors with a row for each example; name a part inside it"
                )
        # As it is now: what comes behind may write into it.
        tensors = {key: value.detach().cpu().clone() for key, value in given.items()}
        only = next(iter(tensors.values()))
        self._calls.append(only if len(tensors) == 1 and only.dim() == _IMAGES else tensors)


def _first(inputs: Inputs) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))


def _joined(recorded: list[Inputs], name: str) -> Inputs:
    """All batches as one."""
    begin = recorded[0]
    sizes = [_sizes(inputs) for inputs in recorded]
    if other := next((size for size in sizes if size != sizes[0]), None):
        raise DataError(
            f"the part {name} gets inputs of {_text(sizes[0])} and of {_text(other)}; give images "
            "for which they are of one size"
        )
    if isinstance(begin, Tensor):
        return torch.cat([inputs for inputs in recorded if isinstance(inputs, Tensor)])
    named = [inputs for inputs in recorded if not isinstance(inputs, Tensor)]
    return {key: torch.cat([inputs[key] for inputs in named]) for key in begin}


def _sizes(inputs: Inputs) -> dict[str, tuple[int, ...]]:
    if isinstance(inputs, Tensor):
        return {"": tuple(inputs.shape[1:])}
    return {key: tuple(tensor.shape[1:]) for key, tensor in inputs.items()}


def _text(sizes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{key} {shape}".strip() for key, shape in sizes.items())


def _divided(inputs: Inputs, calibration_images: int | None, seed: int) -> Dataset:
    """Three splits of recorded inputs, named by a digest."""
    examples = len(_first(inputs))
    if examples < 2 * _TESTED:
        raise DataError(
            f"{counted(examples, 'example')} were recorded, {2 * _TESTED} or more are needed"
        )
    everything, numbers = TensorSplit(inputs), torch.arange(examples).double()
    tested, rest = stratified(numbers, examples // _TESTED, seed=0)
    calibration, train = calibration_split(
        numbers[rest], calibration_images, seed=seed, name="the part's inputs"
    )
    return Dataset(
        name=IN_MEMORY + _digest(inputs),
        class_names=(),
        preprocessing=_input_size(inputs),
        train=everything.subset(rest[train]),
        calibration=everything.subset(rest[calibration]),
        test=everything.subset(tested),
    )


def _input_size(inputs: Inputs) -> InputSize:
    if isinstance(inputs, Tensor):
        channels, height, width = inputs.shape[1:]
        return channels, height, width
    return InputSpec(
        tuple(
            Input(key, tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))
            for key, tensor in inputs.items()
        )
    )


def _digest(inputs: Inputs) -> str:
    """12 letters of the number of examples, their sizes, and some of them."""
    found, examples = hashlib.sha256(), len(_first(inputs))
    for key, tensor in ({"": inputs} if isinstance(inputs, Tensor) else inputs).items():
        found.update(f"{key} {tuple(tensor.shape)}\n".encode())
        chosen = tensor[:: max(1, examples // _SAMPLE)][:_SAMPLE]
        found.update(chosen.contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
