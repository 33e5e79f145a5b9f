"""Sources of models: how their networks are made, here and in other processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from depthopt.core.inputs import InputSize
from depthopt.data.dataset import Preprocessing

Argument = bool | int | float | str | None
"""An argument of a network: any value that a JSON file can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A library or package that makes networks by name.

    Attributes:
        name: before the colon in a network's name, such as ``torchvision:resnet18``.
        create: (name, arguments): the network in evaluation mode, the same structure in every
            process. It raises a ``ModelError`` for a name or arguments that it does not know, and
            reads no pickle. ``pretrained=True`` among the arguments asks for trained weights.
        arguments: (input_size, outputs): the arguments for inputs of this size, and for so many
            outputs; None leaves those as they are.
        trained_for: (name): how many outputs its trained weights are for.
        preprocessing: (name): what its trained weights expect of images; None where nothing says.
    """

    name: str
    create: Callable[[str, Mapping[str, Argument]], nn.Module]
    arguments: Callable[[InputSize, int | None], dict[str, Argument]]
    trained_for: Callable[[str], int | None]
    preprocessing: Callable[[str], Preprocessing | None] = lambda _: None
