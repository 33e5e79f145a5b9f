"""timm's networks, by name."""

from collections.abc import Mapping

import timm
from torch import nn

from depthopt.errors import ModelError

Argument = bool | int | float | str | None


def create_timm_model(name: str, arguments: Mapping[str, Argument]) -> nn.Module:
    """A timm model by name, in evaluation mode.

    Raises:
        ModelError: timm does not know the name, or refuses the arguments, or these name a
            checkpoint, which may be a pickle.
    """
    if "checkpoint_path" in arguments:
        raise ModelError(
            f"checkpoint_path of {name} is not read, since it may be a pickle; load weights from "
            "safetensors"
        )
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:5]
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise ModelError(f"timm knows no model {name!r}; {hint}`timm.list_models()` lists all")
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        message = str(error).partition("\n")[0]
        raise ModelError(f"timm refuses {name} with {dict(arguments)}: {message}") from error
    return model.eval()
