"""One training loop: a teacher from scratch, or a shallow network from its teacher."""

import copy
import logging
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from depthopt.errors import DepthoptError, UsageError
from depthopt.rewrite.inserted import come_into_their_own
from depthopt.train.config import TrainConfig, check_config
from depthopt.train.dataset import Dataset, Progress, training_steps
from depthopt.train.evaluate import evaluate
from depthopt.train.loss import training_loss
from depthopt.train.state import EpochRecord, TrainState, identity, load_state, save_state

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = 256


class TrainingDiverged(DepthoptError):  # noqa: N818 - named for what is the case
    """The loss or a weight became NaN or infinite."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training was like.

    Attributes:
        history: one record per epoch.
        steps: in all.
    """

    history: tuple[EpochRecord, ...]
    steps: int


def finetune(
    model: nn.Module,
    data: Dataset,
    *,
    teacher: nn.Module | None = None,
    config: TrainConfig | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train ``model`` in place on the train split.

    On a CPU, the same arguments and number of threads end in the same bits, however often
    the training was stopped and started again with the same ``checkpoint``.

    Args:
        model: from ``(n, channels, height, width)`` to logits ``(n, classes)``. It is left
            in eval mode, on the device where it was.
        data: its test split is not looked at.
        teacher: the network whose logits to imitate; it is not changed.
        config: all settings; None takes the defaults.
        checkpoint: a safetensors file that is written while training, and gone on from if
            it exists.
        progress: called with the steps done and in all.

    Raises:
        ArtefactError: ``checkpoint`` is damaged or of another training.
        UsageError: a setting is out of range, or the machine cannot do it.
        TrainingDiverged: the loss or a weight became NaN or infinite; ``checkpoint`` holds
            the last good state.
    """
    config = config or TrainConfig()
    check_config(config)
    home = next(model.parameters()).device
    steps = config.epochs * training_steps(len(data.train), config.batch_size)
    with torch.random.fork_rng():
        trainer = _trainer(model, teacher, config, steps)
        keeper = _Keeper(
            checkpoint,
            identity(model, data, config, distilled=teacher is not None),
            config.checkpoint_every_s,
        )
        keeper.restore(trainer.state)
        while trainer.state.step < steps:
            _run_epoch(trainer, data, keeper, progress)
    state = trainer.state
    if state.ema:
        model.load_state_dict(state.ema.module.state_dict())
        come_into_their_own(model, 1.0)
    model.eval().to(home).to(memory_format=torch.contiguous_format)
    return TrainResult(tuple(state.history), state.step)


@dataclass(slots=True)
class _Keeper:
    """Writes a training's checkpoints, if they are wanted."""

    path: Path | None
    digest: str
    every_s: float
    saved_at: float = field(default_factory=time.monotonic)

    def restore(self, state: TrainState) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.path and self.path.exists():
            load_state(state, self.path, self.digest)
            logger.info("going on from step %d of %s", state.step, self.path)

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for the next."""
        return self.path is not None and time.monotonic() - self.saved_at >= self.every_s

    def save(self, state: TrainState) -> None:
        """Write a checkpoint."""
        if self.path:
            save_state(state, self.path, self.digest)
        self.saved_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Trainer:
    """Does single steps.

    Attributes:
        accelerator: places, scales and, where there are several processes, averages.
        network: the model as accelerate wraps it.
        optimizer: as accelerate wraps it.
        schedule: of the learning rate, a function of the step.
        teacher: a copy of the caller's, or None.
        config: of the training.
        anneal_steps: after so many, inserted activations have come into their own.
        state: what a step changes.
    """

    accelerator: Accelerator
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    teacher: nn.Module | None
    config: TrainConfig
    anneal_steps: int
    state: TrainState

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Train on one batch; returns its loss."""
        state, config = self.state, self.config
        torch.manual_seed(_seed(config.seed, "step", state.step))
        self.schedule.step_update(state.step)
        come_into_their_own(state.model, min(1.0, (state.step + 1) / self.anneal_steps))
        images = images.to(self.accelerator.device, memory_format=_layout(config))
        labels = labels.to(self.accelerator.device)
        logits = self.network(images)
        loss = training_loss(logits, labels, self._teacher_logits(images), config)
        self.accelerator.backward(loss)
        if config.clip_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.step += 1
        if state.ema:
            state.ema.update(state.model, state.step)
        return loss.item()

    def _teacher_logits(self, images: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        with torch.no_grad(), self.accelerator.autocast():
            logits: Tensor = self.teacher(images)
        return logits.float()


def _trainer(
    model: nn.Module, teacher: nn.Module | None, config: TrainConfig, steps: int
) -> _Trainer:
    accelerator = _accelerator(config)
    _place(model.train(), accelerator, config)
    if teacher is not None:
        teacher = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False)
        _place(teacher, accelerator, config)
    optimizer = create_optimizer_v2(
        model,
        opt=config.optimizer,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        fused=True,
    )
    warmup = int(config.warmup * steps)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=steps - warmup,
        warmup_t=warmup,
        warmup_lr_init=config.learning_rate / (warmup + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )
    average = ModelEmaV3(model, config.ema_decay, use_warmup=True) if config.ema_decay else None
    # accelerate puts autocast over the ``forward`` of what it is given: of a wrapper, then.
    network, prepared = accelerator.prepare(nn.Sequential(model), optimizer)
    state = TrainState(model, optimizer, average, accelerator.scaler)
    anneal_steps = max(1, int(config.anneal * steps))
    return _Trainer(accelerator, network, prepared, schedule, teacher, config, anneal_steps, state)


def _run_epoch(
    trainer: _Trainer, data: Dataset, keeper: _Keeper, progress: Progress | None
) -> None:
    """Train to the end of the current epoch, with a checkpoint where one is due."""
    state, config = trainer.state, trainer.config
    epoch_steps = training_steps(len(data.train), config.batch_size)
    steps = config.epochs * epoch_steps
    epoch, done = divmod(state.step, epoch_steps)
    batches = data.train.batches(
        config.batch_size,
        shuffle_seed=_seed(config.seed, "epoch", epoch),
        augment=config.augment,
        skip=done,
    )
    mark = time.perf_counter()
    for images, labels in batches:
        loss = trainer.step(images, labels)
        now = time.perf_counter()
        state.seconds, mark = state.seconds + now - mark, now
        state.loss_sum += loss
        due = keeper.is_due() or state.step == steps
        if not math.isfinite(loss) or (due and not state.is_finite()):
            raise TrainingDiverged(_divergence(trainer, epoch, keeper))
        if progress:
            progress(state.step, steps, f"epoch {epoch + 1}/{config.epochs}, loss {loss:.3f}")
        if state.step % epoch_steps == 0:
            state.history.append(_record(trainer, data, epoch_steps))
            state.loss_sum = state.seconds = 0.0
        if due:
            keeper.save(state)
            mark = time.perf_counter()


def _record(trainer: _Trainer, data: Dataset, epoch_steps: int) -> EpochRecord:
    """The epoch that has just ended."""
    state, config = trainer.state, trainer.config
    accuracy = None
    if config.evaluate_epochs:
        network = state.ema.module if state.ema else state.model
        accuracy = evaluate(network, data.calibration.batches(_EVALUATION_BATCH)).accuracy
    images = min(epoch_steps * config.batch_size, len(data.train))
    return EpochRecord(
        loss=state.loss_sum / epoch_steps,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        seconds=state.seconds,
        images_per_s=images / state.seconds,
        accuracy=accuracy,
    )


def _divergence(trainer: _Trainer, epoch: int, keeper: _Keeper) -> str:
    config = trainer.config
    kept = f"; {keeper.path} holds the last good state" if keeper.path else ""
    return (
        f"loss or weights are no longer finite in epoch {epoch + 1} of {config.epochs}, "
        f"step {trainer.state.step}; lower learning_rate (now {config.learning_rate:g}) or "
        f"clip_norm (now {config.clip_norm}), mixed_precision is {config.mixed_precision}{kept}"
    )


def _accelerator(config: TrainConfig) -> Accelerator:
    # accelerate keeps the first precision for the whole process; a run may use several.
    AcceleratorState._reset_state()  # noqa: SLF001 - there is no public way
    try:
        return Accelerator(mixed_precision=config.mixed_precision)
    except (ValueError, ImportError) as error:
        raise UsageError(f"mixed_precision {config.mixed_precision}: {error}") from None


def _place(module: nn.Module, accelerator: Accelerator, config: TrainConfig) -> None:
    module.to(accelerator.device).to(memory_format=_layout(config))


def _layout(config: TrainConfig) -> torch.memory_format:
    return torch.channels_last if config.channels_last else torch.contiguous_format


def _seed(*parts: object) -> int:
    """A seed that differs for every combination of ``parts``, the same on every machine."""
    return random.Random(repr(parts)).getrandbits(63)  # noqa: S311 - no secret
