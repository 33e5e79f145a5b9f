"""Make networks by name: timm's, ``SOURCE:NAME``, or a callable's."""

from collections.abc import Mapping

from torch import nn

from depthopt.core.clipped import clipped, one_line
from depthopt.core.inputs import InputSize
from depthopt.data.dataset import Preprocessing
from depthopt.errors import DepthoptError, ModelError
from depthopt.models.code import SOURCE as CODE
from depthopt.models.names import MODELS, require_allowed, runs_code, source_of
from depthopt.models.source import Argument, ModelSource


def create_model(
    name: str,
    arguments: Mapping[str, Argument],
    *,
    package: str | None = None,
    allow_code: bool = False,
) -> nn.Module:
    """Make a network by name, in evaluation mode.

    Args:
        name: timm's, ``SOURCE:NAME`` such as ``torchvision:resnet18``, ``FILE.py:CALLABLE``, or
            ``package.module:CALLABLE``.
        arguments: what the source takes beside the name.
        package: that is known to have brought the source, for a message.
        allow_code: whether a file may be run, or a module imported, because the name says so.

    Raises:
        UsageError: the source is not known, or it would run code and may not.
        ModelError: the source does not know the name, or refuses the arguments.
    """
    if package is None:
        require_allowed(name, allow_code=allow_code)
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
    """The arguments of a network for an input size and a number of outputs.

    Args:
        name: as ``create_model`` takes it; nothing is run for it.
        input_size: (channels, height, width), or the named inputs.
        outputs: numbers for an example, such as one a class; None leaves them as they are.

    Raises:
        ModelError: the source's networks take no such inputs.
    """
    return _split(name)[0].arguments(input_size, outputs)


def trained_for(name: str) -> int | None:
    """How many outputs a network's trained weights are for. None if unknown."""
    source, own = _split(name)
    return source.trained_for(own)


def preprocessing_of(name: str) -> Preprocessing | None:
    """The preprocessing that a network's trained weights expect. None if its source is silent."""
    source, own = _split(name)
    return source.preprocessing(own)


def _split(name: str, package: str | None = None) -> tuple[ModelSource, str]:
    if package is None and runs_code(name):
        return CODE, name
    source: ModelSource = MODELS.get(source_of(name), package=package)
    return source, name.partition(":")[2] or name
