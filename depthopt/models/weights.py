"""A network's weights as a safetensors file."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from depthopt.core import limits
from depthopt.core.artefacts import write_bytes
from depthopt.core.clipped import one_line, shortened
from depthopt.core.reading import read_bytes
from depthopt.errors import ArtefactError

_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""What safetensors calls types of real numbers."""


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's parameters and buffers as safetensors, atomically; tied ones twice."""
    tensors: dict[str, Tensor] = {}
    stored = set[int]()
    for name, tensor in model.state_dict().items():
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in stored else tensor
        tensors[name] = tensors[name].contiguous()
        stored.add(memory)
    write_bytes(path, save_tensors(tensors))


def dtype_of_weights(path: Path) -> torch.dtype:
    """The type of a file's first real numbers; float32 where there are none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            stored = [file.get_slice(name).get_dtype() for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        stored = []  # reading the weights says what is wrong
    return next((_TYPES[each] for each in stored if each in _TYPES), torch.float32)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what ``save_weights`` wrote into a model of the same structure.

    Raises:
        ArtefactError: the file is missing, damaged, or of another model.
    """
    try:
        numbers = sum(tensor.numel() for tensor in model.state_dict().values())
        content = read_bytes(path, limits.WEIGHTS_HEAD_BYTES + 8 * numbers)
        tensors: dict[str, Tensor] = load_tensors(content)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"{path} is not whole safetensors ({one_line(error)})") from None
    try:
        # In the order of their names, which is also that of a message.
        model.load_state_dict({name: tensors[name] for name in sorted(tensors)})
    except RuntimeError as error:
        detail = shortened(str(error).splitlines()[-1].strip())
        raise ArtefactError(f"{path} does not fit {type(model).__name__}: {detail}") from None
