"""The training loop, for a teacher from scratch or a shallow network with its teacher."""

import copy
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from depthopt.core.progress import Progress, silent
from depthopt.core.training import EpochRecord, TrainResult
from depthopt.core.workload import Workload
from depthopt.data.dataset import Dataset, has_targets, training_steps
from depthopt.data.seeds import seed_of
from depthopt.errors import DepthoptError, UsageError
from depthopt.graph.examples import blank
from depthopt.graph.heap import kept_heap
from depthopt.graph.outputs import output_of
from depthopt.rewrite.inserted import come_into_their_own
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.registry import DEFAULT, task_of
from depthopt.tasks.task import Task
from depthopt.train.config import TrainConfig, check_config
from depthopt.train.state import TrainState, identity, load_state, save_state
from depthopt.train.trainer import Matched, Trainer, make_trainer

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = 256

_MOMENTS = {"adamw": 2, "sgd": 1}
"""Numbers that each optimizer keeps for every weight."""


class TrainingDiverged(DepthoptError):  # noqa: N818 - named for what is the case
    """The loss or a weight became NaN or infinite."""


@kept_heap()
def finetune(
    model: nn.Module,
    data: Dataset,
    *,
    task: Task | str = DEFAULT,
    teacher: nn.Module | None = None,
    matched: Matched = (),
    config: TrainConfig | None = None,
    checkpoint: Path | None = None,
    made_from: str = "",
    log_dir: Path | None = None,
    progress: Progress = silent,
) -> TrainResult:
    """Train ``model`` in place on the train split.

    On a CPU, the same arguments and number of threads end in the same bits, however often
    the training was stopped and started again with the same ``checkpoint``.

    In a process that ``accelerate launch`` started, all its processes train together: each
    on its share of every batch, with the batch norm statistics of that share. All must call
    this; the main one writes the checkpoint, and all read it.

    Args:
        model: from images ``(n, channels, height, width)``, or named inputs, to outputs
            ``(n, ...)``. It is left in eval mode, on the device where it was.
        data: its test split is not looked at.
        task: what the network is for.
        teacher: the network whose outputs to imitate; it is not changed.
        matched: modules whose inputs shall be the teacher's too, as ``config.matching``
            weighs them (``rewrite.segment_ends``).
        config: all settings; None takes the defaults.
        checkpoint: a safetensors file that is written while training. If it exists, the
            training continues from it.
        made_from: is written into the checkpoint, for ``check_state``.
        log_dir: where ``config.trackers`` write; None leaves them out.
        progress: receives the steps.

    Raises:
        ArtefactError: ``checkpoint`` is damaged or of another training.
        UsageError: a setting is out of range, or the machine cannot do it; or the network, or
            its teacher, gives what the task cannot judge by this data.
        TrainingDiverged: the loss or a weight became NaN or infinite; ``checkpoint`` holds
            the last good state.
    """
    config, task = config or TrainConfig(), task_of(task)
    check_config(config)
    if teacher is None and not has_targets(data.train):
        raise UsageError(f"{data.name} has no targets to train on; give a teacher to imitate")
    for name, network in (("network", model), ("teacher", teacher)):
        if network is not None:
            _check_output(name, network, task, data)
    home = next(model.parameters()).device
    steps = steps_of(config, len(data.train))
    with torch.random.fork_rng():
        trainer = make_trainer(
            model,
            teacher,
            config,
            task=task,
            data=data,
            steps=steps,
            matched=matched,
            log_dir=log_dir,
        )
        keeper = _Keeper(
            checkpoint if trainer.accelerator.is_main_process else None,
            identity(model, data, config, distilled=teacher is not None),
            config.checkpoint_every_s,
            made_from,
        )
        if checkpoint and checkpoint.exists():
            load_state(trainer.state, checkpoint, keeper.digest)
            logger.info("going on from step %d of %s", trainer.state.step, checkpoint)
        try:
            while trainer.state.step < steps and not _reached(trainer):
                _run_epoch(trainer, data, keeper, progress)
        finally:
            trainer.finish()
    state = trainer.state
    if state.ema:
        model.load_state_dict(state.ema.module.state_dict())
        come_into_their_own(model, 1.0)
    model.eval().to(home).to(memory_format=torch.contiguous_format)
    return TrainResult(tuple(state.history), state.step, task.metric)


def steps_of(config: TrainConfig, images: int) -> int:
    """The number of steps of a training on a split of this many images."""
    return config.steps or config.epochs * training_steps(images, config.batch_size)


def training_workload(
    config: TrainConfig, *, images: int, parameters: int, distilled: bool
) -> Workload:
    """The work of ``finetune`` on a split of this many images, with a teacher of equal size.

    The weights are held with their gradient, moments and average, and the teacher's.
    """
    batch = min(config.batch_size, images)
    seen = steps_of(config, images) * batch
    copies = 2 + _MOMENTS[config.optimizer] + (config.ema_decay is not None) + distilled
    return Workload(
        forward_images=seen if distilled else 0,
        trained_images=seen,
        memory_bytes=4 * parameters * copies,
        kept_images=-(-batch // config.accumulation),
    )


@torch.no_grad()
def _check_output(name: str, network: nn.Module, task: Task, data: Dataset) -> None:
    """Refuse, before any step, a network whose outputs the task cannot judge."""
    inputs = blank(data.input_size, next(network.parameters()))
    unfit = task.why_unfit(output_of(copy.deepcopy(network).eval(), inputs), data)
    if unfit is not None:
        reason, remedy = unfit
        raise UsageError(f"the {name}'s head {reason}; {remedy}")


@dataclass(slots=True)
class _Keeper:
    """Writes a training's checkpoints, if they are wanted from this process."""

    path: Path | None
    digest: str
    every_s: float
    made_from: str
    saved_at: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for the next."""
        return self.path is not None and time.monotonic() - self.saved_at >= self.every_s

    def save(self, state: TrainState) -> None:
        """Write a checkpoint."""
        if self.path:
            save_state(state, self.path, self.digest, self.made_from)
        self.saved_at = time.monotonic()


def _reached(trainer: Trainer) -> bool:
    """Whether the last epoch was as good as was asked for."""
    target, history = trainer.config.target_metric, trainer.state.history
    if target is None or not history:
        return False
    found = history[-1].metric
    return found is not None and trainer.task.metric.reached(found, target)


def _run_epoch(trainer: Trainer, data: Dataset, keeper: _Keeper, progress: Progress) -> None:
    """Train to the end of the current epoch, with a checkpoint where one is due."""
    state, config = trainer.state, trainer.config
    epoch_steps = training_steps(len(data.train), config.batch_size)
    epochs = -(-trainer.steps // epoch_steps)
    epoch, done = divmod(state.step, epoch_steps)
    batches = data.train.batches(
        config.batch_size,
        shuffle_seed=seed_of(config.seed, "epoch", epoch),
        augment=config.augment,
        randaugment=config.randaugment,
        skip=done,
        part=trainer.part,
    )
    mark = time.perf_counter()
    for inputs, targets in batches:
        state.waited_s += time.perf_counter() - mark
        loss = trainer.step(inputs, targets)
        now = time.perf_counter()
        state.seconds, mark = state.seconds + now - mark, now
        state.loss_sum += loss
        last = state.step == trainer.steps
        due = keeper.is_due() or last
        if not math.isfinite(loss) or (due and not state.is_finite()):
            raise TrainingDiverged(_divergence(trainer, epoch, epochs, keeper))
        trainer.log(loss=loss, learning_rate=_learning_rate(state))
        progress(state.step, trainer.steps, f"epoch {epoch + 1}/{epochs}, loss {loss:.3f}")
        if state.step % epoch_steps == 0 or last:
            _end_epoch(trainer, data, state.step - epoch * epoch_steps)
        if due:
            keeper.save(state)
        mark = time.perf_counter()
        if last:
            return


def _end_epoch(trainer: Trainer, data: Dataset, steps: int) -> None:
    """Record the epoch of so many steps that has just ended."""
    state, config = trainer.state, trainer.config
    metric = None
    if config.evaluate_epochs or config.target_metric is not None:
        metric = trainer.agreed(lambda: _metric(trainer, data))
    images = min(steps * config.batch_size, len(data.train))
    record = EpochRecord(
        loss=state.loss_sum / steps,
        learning_rate=_learning_rate(state),
        seconds=state.seconds,
        images_per_s=images / state.seconds,
        metric=metric,
        waited_s=state.waited_s,
    )
    trainer.log(
        epoch_loss=record.loss,
        images_per_s=record.images_per_s,
        waited_share=record.waited_s / record.seconds,
        **({} if metric is None else {trainer.task.metric.name: metric}),
    )
    state.history.append(record)
    state.loss_sum = state.seconds = state.waited_s = 0.0


def _metric(trainer: Trainer, data: Dataset) -> float:
    state = trainer.state
    network = state.ema.module if state.ema else state.model
    batches = data.calibration.batches(_EVALUATION_BATCH)
    return evaluate(network, batches, task=trainer.task).metric


def _learning_rate(state: TrainState) -> float:
    rate: float = state.optimizer.param_groups[0]["lr"]
    return rate


def _divergence(trainer: Trainer, epoch: int, epochs: int, keeper: _Keeper) -> str:
    config = trainer.config
    kept = f"; {keeper.path} holds the last good state" if keeper.path else ""
    return (
        f"loss or weights are no longer finite in epoch {epoch + 1} of {epochs}, "
        f"step {trainer.state.step}; lower learning_rate (now {config.learning_rate:g}) or "
        f"clip_norm (now {config.clip_norm}), mixed_precision is {config.mixed_precision}{kept}"
    )
