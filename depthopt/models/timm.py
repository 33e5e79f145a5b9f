"""Make timm's networks by name."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import timm
from torch import nn

from depthopt.core.clipped import clipped, shortened
from depthopt.core.inputs import InputSize, InputSpec
from depthopt.core.interpolation import Interpolation
from depthopt.data.dataset import Preprocessing
from depthopt.errors import ModelError
from depthopt.models.source import Argument, ModelSource


def create_timm_model(name: str, arguments: Mapping[str, Argument]) -> nn.Module:
    """Make a timm model by name, in evaluation mode.

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
        raise ModelError(f"timm knows no model {clipped(name)}; {_hint(name)}")
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except Exception as error:  # of arguments that nobody thought of
        message = shortened(str(error).partition("\n")[0])
        raise ModelError(f"timm refuses {name} with {dict(arguments)}: {message}") from error
    return model.eval()


def _hint(name: str) -> str:
    """What may be meant by a name that timm does not know."""
    path = Path(name)
    if path.suffix == ".py":
        return f"of a file name the callable too, such as {clipped(name)[1:-1]}:build"
    if path.suffix in {".yaml", ".yml"}:
        return "recipes are carried out by `depthopt run`"
    if path.suffix in {".pth", ".pt", ".ckpt", ".tar", ".safetensors"}:
        return f"name the network, and its weights by --checkpoint {clipped(name)[1:-1]}"
    known = timm.list_models()
    near = difflib.get_close_matches(name, known, n=3)
    start = name.split("_", maxsplit=1)[0]
    near += [each for each in timm.list_models(f"*{start}*")[:5] if start and each not in near]
    hint = f"did you mean {', '.join(near[:5])}? " if near else ""
    return f"{hint}`timm.list_models()` lists all"


def _arguments(input_size: InputSize, outputs: int | None) -> dict[str, Argument]:
    if isinstance(input_size, InputSpec):
        raise ModelError(f"timm's networks take one image, not the inputs {input_size}")
    given: dict[str, Argument] = {"in_chans": input_size[0]}
    return given if outputs is None else {**given, "num_classes": outputs}


def _trained_for(name: str) -> int | None:
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return None if config is None else int(config.num_classes)


def _preprocessing(name: str) -> Preprocessing | None:
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        return None
    interpolation: Interpolation = "bilinear" if config.interpolation == "bilinear" else "bicubic"
    return Preprocessing(config.input_size, config.mean, config.std, interpolation, config.crop_pct)


SOURCE = ModelSource(
    name="timm",
    create=create_timm_model,
    arguments=_arguments,
    trained_for=_trained_for,
    preprocessing=_preprocessing,
)
