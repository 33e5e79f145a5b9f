"""Check that a network gives one row of numbers for each example."""

import torch
from torch import Tensor, nn

from depthopt.core.clipped import one_line
from depthopt.core.inputs import InputSize, called, size_text
from depthopt.errors import ModelError
from depthopt.graph.examples import batch_like

_EXAMPLES = 2


@torch.no_grad()
def require_row(model: nn.Module, size: InputSize, outputs: int, name: str) -> None:
    """Run a network once, in evaluation mode, and refuse any other output.

    Args:
        model: left in the mode that it is in.
        size: of its inputs.
        outputs: numbers that it is to give for an example.
        name: of it, for messages.

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
    if not isinstance(output, Tensor):
        raise ModelError(
            f"{name} returns a {type(output).__name__}, expected one tensor; wrap it in a module "
            "whose forward returns the tensor that counts, or set task: matching, for all of them"
        )
    shape = tuple(output.shape)
    if shape != (_EXAMPLES, outputs):
        found = "x".join(map(str, shape)) or "one number"
        raise ModelError(
            f"{name} gives {found} for {_EXAMPLES} examples, expected {_EXAMPLES}x{outputs}, a row "
            "of numbers for each; end it with a mean over the image and a linear layer, for "
            "instance"
        )
