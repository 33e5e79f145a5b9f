"""The state of a training between two steps, and its file.

It holds no random state, because every epoch and step seeds its own generators.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from depthopt.core import digests
from depthopt.core.clipped import one_line
from depthopt.core.inputs import InputSpec
from depthopt.core.training import EpochRecord
from depthopt.core.writing import write_bytes
from depthopt.data.dataset import Dataset
from depthopt.errors import ArtefactError
from depthopt.train.config import TrainConfig

_HEAD = "depthopt_checkpoint"
"""Key in a checkpoint's metadata of everything that is not a tensor."""

_INSTEAD = "delete it to begin the training again"


@dataclass(slots=True)
class TrainState:
    """Everything that changes during a training.

    Attributes:
        model: the network in training.
        optimizer: over its parameters.
        ema: moving average of its weights, if any.
        scaler: of the gradients in fp16, if any.
        step: steps done, over all epochs.
        loss_sum: of the current epoch's steps.
        seconds: spent on the current epoch.
        waited_s: of these, waiting for images.
        history: of the finished epochs.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: ModelEmaV3 | None
    scaler: torch.amp.GradScaler | None
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited_s: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def is_finite(self) -> bool:
        """Whether no loss and no weight has become NaN or infinite."""
        values = [torch.tensor(self.loss_sum), *self.model.state_dict().values()]
        return all(bool(value.isfinite().all()) for value in values)


def identity(model: nn.Module, data: Dataset, config: TrainConfig, *, distilled: bool) -> str:
    """A digest of what a checkpoint must share with the training that continues from it."""
    settings = asdict(config)
    for name in ("checkpoint_every_s", "trackers"):  # which weights do not depend on
        del settings[name]
    tensors = {name: list(value.shape) for name, value in model.state_dict().items()}
    size = data.input_size
    split = [data.name, str(size) if isinstance(size, InputSpec) else list(size), len(data.train)]
    content = json.dumps([settings, tensors, split, distilled])
    return hashlib.sha256(content.encode()).hexdigest()


def save_state(state: TrainState, path: Path, digest: str, made_from: str = "") -> None:
    """Write a checkpoint. If that fails, ``path`` keeps its old content.

    Args:
        state: of a training between two steps.
        path: a safetensors file.
        digest: what ``identity`` gave.
        made_from: a digest of all that a run trains from, for ``check_state``.
    """
    head = {
        "identity": digest,
        "made_from": made_from,
        "step": state.step,
        "loss_sum": state.loss_sum,
        "seconds": state.seconds,
        "waited_s": state.waited_s,
        "history": [asdict(record) for record in state.history],
        "scaler": state.scaler.state_dict() if state.scaler else None,
    }
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in _tensors(state).items()
    }
    write_bytes(path, digests.sealed(save(tensors, {_HEAD: json.dumps(head)})))


def check_state(path: Path, made_from: str) -> None:
    """Refuse a checkpoint that a run cannot continue from. Earlier versions' are accepted.

    Args:
        path: what ``save_state`` wrote.
        made_from: what it must have been written with.

    Raises:
        ArtefactError: it is damaged, was changed after it was written, or is of another run.
    """
    head, _ = _read(path)
    if head.get("made_from", made_from) != made_from:
        raise ArtefactError(f"{path} is of another run, or was trained from something else")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's head and tensors.

    Raises:
        ArtefactError: it is damaged, or was changed after it was written.
    """
    try:
        content = path.read_bytes()
        tensors: dict[str, Tensor] = load(content)
        head = dict(json.loads(digests.metadata(content)[_HEAD]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ArtefactError(
            f"{path} is not a whole checkpoint ({one_line(error)}); {_INSTEAD}"
        ) from None
    digests.check_tensors(content, path, own=True, instead=_INSTEAD)
    return head, tensors


def load_state(state: TrainState, path: Path, digest: str) -> None:
    """Restore a training that ``save_state`` wrote, in place.

    Raises:
        ArtefactError: the file is damaged, or belongs to another model, data set or
            configuration.
    """
    head, tensors = _read(path)
    if head.get("identity") != digest:
        raise ArtefactError(
            f"{path} is the checkpoint of another model, data set or configuration; "
            "delete it or name another file"
        )
    try:
        _put_back(state, head, tensors)
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        raise ArtefactError(
            f"{path} is not a whole checkpoint ({one_line(error)}); {_INSTEAD}"
        ) from None


def _put_back(state: TrainState, head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    state.step, state.loss_sum = head["step"], head["loss_sum"]
    state.seconds, state.waited_s = head["seconds"], head["waited_s"]
    state.history = [EpochRecord(**record) for record in head["history"]]
    if state.scaler:
        state.scaler.load_state_dict(head["scaler"])
    state.model.load_state_dict(_under("model.", tensors))
    if state.ema:
        state.ema.module.load_state_dict(_under("ema.", tensors))
    _load_optimizer(state.optimizer, _under("optimizer.", tensors))


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    if state.ema:
        averages = state.ema.module.state_dict()
        tensors |= {f"ema.{name}": value for name, value in averages.items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    return tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """The fused optimisers take a parameter and its slots to lie alike in memory."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
