"""Networks by name: of timm, or ``SOURCE:NAME`` of another source."""

from collections.abc import Mapping

from torch import nn

from depthopt.core.clipped import clipped, one_line
from depthopt.core.inputs import InputSize
from depthopt.data.dataset import Preprocessing
from depthopt.errors import DepthoptError, ModelError
from depthopt.models.source import Argument, ModelSource
from depthopt.plugins import Plugins

MODELS = Plugins(
    "depthopt.models",
    "source of models",
    {
        "timm": "depthopt.models.timm:SOURCE",
        "torchvision": "depthopt.models.torchvision:SOURCE",
    },
)
"""Where networks come from: depthopt's own sources, and those of other packages."""


def create_model(
    name: str, arguments: Mapping[str, Argument], *, package: str | None = None
) -> nn.Module:
    """A network by name, in evaluation mode.

    Args:
        name: timm's, or ``SOURCE:NAME``, such as ``torchvision:resnet18``.
        arguments: what the source takes beside the name.
        package: that is known to have brought the source, for a message.

    Raises:
        UsageError: the source is not known.
        ModelError: the source does not know the name, or refuses the arguments.
    """
    source, own = _split(name, package)
    try:
        return source.create(own, arguments)
    except DepthoptError:
        raise
    except Exception as error:  # of networks made with what they were not written for
        raise ModelError(
            f"{name} cannot be made with {clipped(dict(arguments))}: {one_line(error)}"
        ) from error


def model_arguments(
    name: str, input_size: InputSize, outputs: int | None = None
) -> dict[str, Argument]:
    """The arguments of a network for inputs of some size, and for so many outputs.

    Args:
        name: as ``create_model`` takes it.
        input_size: (channels, height, width), or the named inputs.
        outputs: numbers for an example, such as one a class; None leaves them as they are.

    Raises:
        ModelError: the source's networks take no such inputs.
    """
    return _split(name)[0].arguments(input_size, outputs)


def trained_for(name: str) -> int | None:
    """How many outputs a network's trained weights are for; None where there are none."""
    source, own = _split(name)
    return source.trained_for(own)


def preprocessing_of(name: str) -> Preprocessing | None:
    """What a network's trained weights expect of images; None where its source does not say."""
    source, own = _split(name)
    return source.preprocessing(own)


def source_of(name: str) -> str:
    """The name of the source that a network's name begins with."""
    source, colon, _ = name.partition(":")
    return source if colon else "timm"


def _split(name: str, package: str | None = None) -> tuple[ModelSource, str]:
    source: ModelSource = MODELS.get(source_of(name), package=package)
    return source, name.partition(":")[2] or name
