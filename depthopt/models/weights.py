"""A network's weights as a safetensors file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from depthopt.core.artefacts import write_bytes
from depthopt.errors import ArtefactError


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


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what ``save_weights`` wrote into a model of the same structure.

    Raises:
        ArtefactError: the file is missing, damaged, or of another model.
    """
    try:
        tensors: dict[str, Tensor] = load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path} is not whole safetensors ({error})") from None
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise ArtefactError(f"{path} does not fit {type(model).__name__}: {detail}") from None
