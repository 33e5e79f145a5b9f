"""Make networks with a user's callable: ``FILE.py:CALLABLE`` or ``package.module:CALLABLE``.

The callable gets what it has parameters for: ``num_classes``, and ``in_chans`` or ``in_channels``;
``pretrained``; and what a recipe's ``model.arguments`` say. If the network gives another number of
outputs than are asked for, its last linear layer is replaced.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from depthopt.core.clipped import clipped
from depthopt.core.inputs import InputSize, image_size, parse_size, size_text
from depthopt.errors import DepthoptError, ModelError, UsageError
from depthopt.graph.original import unwrapped
from depthopt.models.head import with_outputs
from depthopt.models.importing import folder_of, load_callable, refuse, running
from depthopt.models.names import Code, callable_of, require_allowed
from depthopt.models.source import Argument, ModelSource

INPUTS, OUTPUTS, PRETRAINED = "inputs", "outputs", "pretrained"
"""Arguments that are depthopt's own: the input size as text, the numbers for an example, and
whether the source's weights are asked for."""

_WIDTH = "num_classes"
_CHANNELS = ("in_chans", "in_channels")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def made_by(
    build: Callable[..., Any],
    arguments: Mapping[str, Argument],
    *,
    name: str = "",
    folder: Path | None = None,
) -> nn.Module:
    """The network that a callable makes, in evaluation mode.

    Args:
        build: returns an ``nn.Module``.
        arguments: what ``given_arguments`` gave, and the callable's own.
        name: of the callable, for messages; its own by default.
        folder: of its code, for messages.

    Raises:
        ModelError: it needs other arguments, raises, or returns no network; or this gives another
            number of outputs than are asked for and has no layer to replace.
    """
    name = name or getattr(build, "__qualname__", type(build).__name__)
    given = _fitting(build, arguments, name)
    try:
        model = build(**given)
    except DepthoptError:
        raise
    except (Exception, SystemExit) as error:
        refuse(name, error, folder)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{name} returns {'nothing' if model is None else type(model).__name__}, expected a "
            "network (torch.nn.Module)"
        )
    model = unwrapped(model)  # as it is traced: torch.compile would compile what is only looked at
    return fitted(model.eval(), arguments, f"the network of {name}", f"let it take {_WIDTH}")


def fitted(model: nn.Module, arguments: Mapping[str, Argument], what: str, hint: str) -> nn.Module:
    """Give a network as many outputs as the arguments ask for, in place.

    Args:
        model: to change.
        arguments: what ``given_arguments`` gave.
        what: the network in a message.
        hint: what to do if it cannot be.

    Raises:
        ModelError: its last layer cannot be replaced.
    """
    outputs, inputs = arguments.get(OUTPUTS), arguments.get(INPUTS)
    if outputs is None or inputs is None or any(p.is_meta for p in model.parameters()):
        return model
    if (why := with_outputs(model, _size(inputs), int(outputs))) is not None:
        raise ModelError(f"{what} {why}: {hint}, or replace its last layer")
    return model


def given_arguments(input_size: InputSize, outputs: int | None) -> dict[str, Argument]:
    """The arguments of a network that is not made by name: input size and outputs."""
    given: dict[str, Argument] = {INPUTS: size_text(input_size)}
    return given if outputs is None else {**given, OUTPUTS: outputs}


@dataclass(frozen=True, slots=True)
class Named:
    """A callable by its name, with permission to run it.

    Attributes:
        name: such as ``my_model.py:build``.
    """

    name: str


def callable_named(name: str, *, allow_code: bool) -> Named:
    """The callable that makes a network, by name.

    Raises:
        UsageError: it may not run, or is a source's name.
    """
    require_allowed(name, allow_code=allow_code)
    if callable_of(name) is None:
        raise UsageError(f"{clipped(name)} is not a callable, such as my_model.py:build")
    return Named(name)


def create(name: str, arguments: Mapping[str, Argument]) -> nn.Module:
    """Make a network with a named callable. The caller has checked that it may run.

    Raises:
        ModelError: as ``made_by``; or there is no such file, module or callable.
    """
    code = callable_of(name) or Code(name, "")
    build = load_callable(code)
    with running(code):
        return made_by(build, arguments, name=str(code), folder=folder_of(code))


def _size(inputs: Argument) -> InputSize:
    try:
        return parse_size(str(inputs))
    except ValueError as error:
        raise ModelError(f"the argument {INPUTS} of a network: {error}") from None


def _fitting(
    build: Callable[..., Any], arguments: Mapping[str, Argument], name: str
) -> dict[str, Argument]:
    """The arguments that a callable takes."""
    own = {k: v for k, v in arguments.items() if k not in {INPUTS, OUTPUTS, PRETRAINED}}
    try:
        signature = inspect.signature(build)
    except (ValueError, TypeError):  # of what is not written in Python
        return own
    takes = [p.name for p in signature.parameters.values() if p.kind in _NAMED]
    wanted = _known(arguments)
    given = {**{k: v for k, v in wanted.items() if k in takes}, **own}
    try:
        signature.bind(**given)
    except TypeError:
        _refuse_arguments(signature, given, takes, name)
    return given


def _known(arguments: Mapping[str, Argument]) -> dict[str, Argument]:
    """What is known of a network that is asked for, by the names that parameters have for it."""
    known = {k: arguments[k] for k in (OUTPUTS, PRETRAINED) if k in arguments}
    if OUTPUTS in arguments:
        known[_WIDTH] = arguments[OUTPUTS]
    if INPUTS in arguments:
        try:
            channels = image_size(_size(arguments[INPUTS]))[0]
        except ValueError:  # no input is an image
            return known
        known |= dict.fromkeys(_CHANNELS, channels)
    return known


def _refuse_arguments(
    signature: inspect.Signature, given: Mapping[str, Argument], takes: list[str], name: str
) -> None:
    missing = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty
        and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        and p.name not in given
    ]
    if missing:
        example = ", ".join(f"{each}: ..." for each in missing)
        raise ModelError(
            f"{name} needs the argument{'s' * (len(missing) > 1)} {', '.join(missing)}; give "
            f"{'them' if len(missing) > 1 else 'it'} in a recipe, model.arguments: "
            f"{{{example}}}, or a default"
        )
    unknown = [each for each in given if each not in takes]
    raise ModelError(
        f"{name} takes no argument {clipped(unknown[0]) if unknown else ''}; it takes "
        f"{', '.join(takes) or 'none'}"
    )


SOURCE = ModelSource(
    name="code", create=create, arguments=given_arguments, trained_for=lambda _: None
)
