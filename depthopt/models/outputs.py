"""Check that a network gives one tensor: a row of numbers for each example, or maps."""

import torch
from torch import nn

from depthopt.core.clipped import one_line
from depthopt.core.inputs import InputSize, called, size_text
from depthopt.errors import ModelError
from depthopt.graph.examples import batch_like
from depthopt.graph.outputs import leaves

_EXAMPLES = 2


@torch.no_grad()
def require_outputs(
    model: nn.Module, size: InputSize, outputs: int, name: str, *, maps: bool = False
) -> None:
    """Run a network once, in evaluation mode, and refuse any other output.

    Args:
        model: left in the mode that it is in.
        size: of its inputs.
        outputs: numbers that it is to give for an example.
        name: of it, for messages.
        maps: whether it is to give so many maps, not numbers.

    Raises:
        ModelError: it has no weights in memory, does not run, or gives something else.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ModelError(f"{name} lies on the meta device, and has no weights; make it on the CPU")
    others = {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32}
    if others:
        raise ModelError(
            f"{name} has weights of {min(map(str, others))}; it is trained and compressed in "
            "float32: give model.float()"
        )
    training = [module for module in model.modules() if module.training]
    try:
        output = called(model.eval(), batch_like(model, size, _EXAMPLES))
    except Exception as error:  # whatever a network raises
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ModelError(f"{name} refuses an input of {size_text(size)} ({what})") from error
    finally:
        for module in training:
            module.training = True
    tensors = leaves(model, output)
    if len(tensors) > 1:
        several = ", ".join(key or "its own" for key in tensors)
        raise ModelError(
            f"{name} returns {len(tensors)} tensors ({several}), expected one; wrap it in a module "
            "whose forward returns the tensor that counts, or set task: matching, for all of them"
        )
    (tensor,) = tensors.values()
    shape = tuple(tensor.shape)
    found = "x".join(map(str, shape)) or "one number"
    if maps and (len(shape) != 4 or shape[:2] != (_EXAMPLES, outputs)):
        raise ModelError(
            f"{name} gives {found} for {_EXAMPLES} examples, expected "
            f"{_EXAMPLES}x{outputs}xROWSxCOLUMNS, a map for each class; name a network that does, "
            "or let it give so many"
        )
    if not maps and shape != (_EXAMPLES, outputs):
        raise ModelError(
            f"{name} gives {found} for {_EXAMPLES} examples, expected {_EXAMPLES}x{outputs}, a row "
            "of numbers for each; end it with a mean over the image and a linear layer, for "
            "instance"
        )
