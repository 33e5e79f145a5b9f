"""A user's wish: a network, data, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.inputs import InputSize, InputSpec
from depthopt.data.dataset import Dataset
from depthopt.data.given import given_dataset
from depthopt.errors import UsageError
from depthopt.models.memory import memory_name
from depthopt.models.source import Argument
from depthopt.pipeline.overrides import changes_of, with_keys

TorchData = TorchDataset[Any] | DataLoader[Any] | tuple[Any, Any]
"""A torch data set or loader of (image, label), or a pair of them: to train and to test on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user asks for.

    Attributes:
        model: as ``create_model`` takes it, or what ``given`` is called.
        data: the name of a data set, or a path (``source_of_path``), or what ``given_data`` is
            called.
        speedup: over the original; None takes ``SPEEDUP``.
        input_size: a side, or (channels, height, width), or named inputs.
        checkpoint: file of trained weights.
        pretrained: take the weights of the network's source.
        epochs: of the finetune.
        seed: of initialisation, order and augmentation.
        overrides: ``key.path=value`` of the recipe, applied last.
        arguments: of the network, beside what the data asks for.
        allow_code: whether a network of a file or module may be imported.
        given: a trained network that is in memory.
        given_data: a data set that is in memory.
    """

    model: str
    data: str
    speedup: float | None = None
    input_size: int | InputSize | None = None
    checkpoint: Path | None = None
    pretrained: bool = False
    epochs: int | None = None
    seed: int = 0
    overrides: Sequence[str] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    allow_code: bool = False
    given: nn.Module | None = None
    given_data: Dataset | None = None

    @property
    def has_weights(self) -> bool:
        """Whether trained weights are named or given."""
        return self.given is not None or self.checkpoint is not None or self.pretrained

    @property
    def names_budget(self) -> bool:
        """Whether it sets a budget."""
        return self.speedup is not None or "budget" in changes_of(self.overrides)


def wish_of(
    model: nn.Module | str,
    data: TorchData | Dataset | str | Path,
    test: TorchData | None,
    **options: Any,
) -> Wish:
    """The wish of a caller in Python, whose network and data may be in memory.

    Args:
        model: a trained network, or a name, whose code may run.
        data: torch's data, a data set's name or path, or a data set in memory.
        test: what is tested on, where ``data`` is torch's.
        options: the other attributes of ``Wish``; and ``method`` and ``task``, keys of the recipe.

    Raises:
        DepthoptError: the data in memory cannot be used, or an option is invalid.
    """
    given = None if isinstance(model, str) else model
    if given is not None and (options.get("checkpoint") or options.get("pretrained")):
        raise UsageError(
            "checkpoint and pretrained go with a network's name; load weights into a network in "
            "memory before it is given"
        )
    if test is not None and isinstance(data, str | Path):
        raise UsageError(f"test goes with torch's data; {data} has its own test split")
    if isinstance(overrides := options.get("overrides", ()), str):
        raise UsageError(
            f"overrides is {clipped(overrides)}, expected a list of texts such as budget.speedup=2"
        )
    keys = {key: options.pop(key, None) for key in ("method", "task")}
    options["overrides"] = with_keys(overrides, **keys)
    _check(options)
    examples = data if isinstance(data, Dataset) else None
    if not isinstance(data, str | Path | Dataset):
        examples = given_dataset(data, test, seed=options.get("seed", 0))
    checkpoint = options.pop("checkpoint", None)
    return Wish(
        model=model if isinstance(model, str) else memory_name(model),
        data=str(data) if examples is None else examples.name,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        allow_code=True,
        given=given,
        given_data=examples,
        **options,
    )


def _check(options: Mapping[str, Any]) -> None:
    """Refuse numbers that are none.

    Raises:
        UsageError: one is not of its kind.
    """
    kinds = {"speedup": numbers.Positive, "epochs": numbers.Count, "seed": numbers.Seed}
    for name, kind in kinds.items():
        if (value := options.get(name)) is not None:
            numbers.require(kind, name, value)
    size = options.get("input_size")
    if size is None or isinstance(size, InputSpec):
        return
    sides = (size,) if isinstance(size, int) else size
    whole = isinstance(sides, tuple | list) and all(type(n) is int and n > 0 for n in sides)
    if not whole or len(sides) not in {1, 3}:
        raise UsageError(
            f"input_size is {clipped(size)}, expected a side in pixels, such as 64, or (channels, "
            "height, width)"
        )
