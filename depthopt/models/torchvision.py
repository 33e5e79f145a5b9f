"""Make torchvision's networks by name."""

import difflib
import inspect
from collections.abc import Mapping

from torch import nn
from torchvision import models

from depthopt.core.clipped import shortened
from depthopt.core.inputs import InputSize, InputSpec
from depthopt.core.interpolation import Interpolation
from depthopt.data.dataset import Preprocessing
from depthopt.errors import ModelError
from depthopt.models.source import Argument, ModelSource


def create_torchvision_model(name: str, arguments: Mapping[str, Argument]) -> nn.Module:
    """Make a torchvision model by name, in evaluation mode.

    Raises:
        ModelError: torchvision does not know the name, or refuses the arguments, or the images
            are not of three channels.
    """
    given = dict(arguments)
    channels, pretrained = given.pop("channels", 3), given.pop("pretrained", False)
    known = models.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise ModelError(
            f"torchvision knows no model {name!r}; {hint}`torchvision.models.list_models()` lists "
            "all"
        )
    if channels != 3:
        raise ModelError(f"torchvision's {name} takes images of 3 channels, got {channels}")
    # Weights come with the auxiliary head alone, which evaluation need not run.
    without_auxiliary = pretrained and given.get("aux_loss") is False
    if without_auxiliary:
        del given["aux_loss"]
    if pretrained:
        given["weights"] = "DEFAULT"
    elif "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        given.setdefault("weights_backbone", None)  # else a backbone's are downloaded unasked
    try:
        model: nn.Module = models.get_model(name, **given)
        if without_auxiliary:
            model.register_module("aux_classifier", None)
    except Exception as error:  # of arguments that nobody thought of
        message = shortened(str(error).partition("\n")[0])
        raise ModelError(f"torchvision refuses {name} with {given}: {message}") from error
    return model.eval()


def _arguments(input_size: InputSize, outputs: int | None) -> dict[str, Argument]:
    if isinstance(input_size, InputSpec):
        raise ModelError(f"torchvision's networks take one image, not the inputs {input_size}")
    given: dict[str, Argument] = {"channels": input_size[0]}
    return given if outputs is None else {**given, "num_classes": outputs}


def _trained_for(name: str) -> int | None:
    if name not in models.list_models():
        return None
    return len(models.get_model_weights(name)["DEFAULT"].meta["categories"])


def _preprocessing(name: str) -> Preprocessing | None:
    if name not in models.list_models():
        return None
    # What is not for images of one size, such as a detector's, says none.
    look = models.get_model_weights(name)["DEFAULT"].transforms()
    if not hasattr(look, "crop_size"):
        return None
    crop, resized = look.crop_size[0], look.resize_size[0]
    interpolation: Interpolation = (
        "bicubic" if look.interpolation.value == "bicubic" else "bilinear"
    )
    return Preprocessing(
        (3, crop, crop), tuple(look.mean), tuple(look.std), interpolation, crop / resized
    )


SOURCE = ModelSource(
    name="torchvision",
    create=create_torchvision_model,
    arguments=_arguments,
    trained_for=_trained_for,
    preprocessing=_preprocessing,
)
