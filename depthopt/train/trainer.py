"""Single steps of a training, on the devices and processes that accelerate launched."""

import atexit
import contextlib
import copy
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast, broadcast_object_list
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from depthopt.core.inputs import Inputs, InputSize, InputSpec, chunks, count, moved
from depthopt.data.dataset import Dataset
from depthopt.data.seeds import all_seeded, seed_of
from depthopt.errors import ModelError, UsageError
from depthopt.graph.outputs import output_of
from depthopt.graph.trace import trace
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.inserted import come_into_their_own
from depthopt.tasks.task import Mixer, Task
from depthopt.train.config import TrainConfig
from depthopt.train.layout import trained_layout
from depthopt.train.matching import matching_loss
from depthopt.train.module_inputs import Taps
from depthopt.train.state import TrainState

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Matched = Sequence[tuple[str, str]]
"""Modules whose inputs are matched, by their paths in the network and in its teacher."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """The network that is imitated.

    Attributes:
        network: a copy of the caller's, traced and its norms folded where it can be.
        own: the student's tensors that are matched; None where none is.
        wanted: the teacher's.
    """

    network: nn.Module
    own: Taps | None = None
    wanted: Taps | None = None


@dataclass(frozen=True, slots=True)
class Trainer:
    """Runs single steps of a training.

    Attributes:
        accelerator: places, scales and, where there are several processes, averages.
        network: the model as accelerate wraps it.
        optimizer: as accelerate wraps it.
        schedule: of the learning rate, a function of the step.
        teacher: if there is one.
        task: what the network is for.
        mixer: mixes a batch, if that is wanted.
        config: of the training.
        steps: in all.
        state: what a step changes.
    """

    accelerator: Accelerator
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    teacher: Teacher | None
    task: Task
    mixer: Mixer | None
    config: TrainConfig
    steps: int
    state: TrainState

    @property
    def part(self) -> tuple[int, int]:
        """This process's rank, and the number of processes."""
        return self.accelerator.process_index, self.accelerator.num_processes

    def step(self, inputs: Inputs, targets: Tensor | None) -> float:
        """Train on this process's share of one batch, and return its loss."""
        state, config = self.state, self.config
        rank, _ = self.part
        seed = seed_of(config.seed, "step", state.step, *([rank] if rank else []))
        torch.manual_seed(seed)
        self.schedule.step_update(state.step)
        anneal_steps = max(1, int(config.anneal * self.steps))
        come_into_their_own(state.model, min(1.0, (state.step + 1) / anneal_steps))
        if self.mixer is not None:
            assert isinstance(inputs, Tensor)  # noqa: S101 - narrows Inputs: _mixer refuses others
            assert targets is not None  # noqa: S101 - narrows Tensor | None: likewise
            with all_seeded(f"mixup/{seed}"):
                inputs, targets = self.mixer(inputs, targets)
        loss = self._backward(inputs, targets)
        if config.clip_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state.step += 1
        if state.ema:
            state.ema.update(state.model, state.step)
        return loss

    def agreed(self, value: Callable[[], float]) -> float:
        """The result of ``value`` in the main process, sent to every process."""
        values = [value() if self.accelerator.is_main_process else math.nan]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(values)
        return values[0]

    def log(self, **values: float) -> None:
        """Log to the trackers, if there are any."""
        if self.accelerator.trackers:
            self.accelerator.log(values, step=self.state.step)

    def finish(self) -> None:
        """End the trackers and leave the same weights in every process."""
        if self.teacher is not None and self.teacher.own is not None:
            self.teacher.own.remove()
        for tracker in self.accelerator.trackers:
            tracker.finish()
        if self.accelerator.num_processes > 1:
            for tensor in self.state.model.state_dict().values():
                broadcast(tensor)

    def _backward(self, inputs: Inputs, targets: Tensor | None) -> float:
        """Add up the gradient over the parts of the batch; returns the loss."""
        like, total = next(self.network.parameters()), 0.0
        parts, examples = chunks(inputs, self.config.accumulation), count(inputs)
        wanted: Sequence[Tensor | None] = [None] * len(parts)
        if targets is not None:
            wanted = targets.chunk(self.config.accumulation)
        left = examples
        for part, answers in zip(parts, wanted, strict=True):
            left -= count(part)
            # Processes average their gradients once a step, with the last part.
            waits = self.accelerator.no_sync(self.network) if left else contextlib.nullcontext()
            with waits:
                loss = self._loss(
                    moved(part, like, _layout(self.config)),
                    None if answers is None else answers.to(like.device),
                )
                loss = loss * (count(part) / examples)
                self.accelerator.backward(loss)
            total += loss.item()
        return total

    def _loss(self, inputs: Inputs, targets: Tensor | None) -> Tensor:
        outputs = self.network(inputs)
        if self.teacher is None:
            return self.task.step_loss(outputs, targets, None, self.config)
        with torch.no_grad(), self.accelerator.autocast():
            answer = output_of(self.teacher.network, inputs)
        loss = self.task.step_loss(outputs, targets, answer.float(), self.config)
        if self.teacher.own is None or self.teacher.wanted is None:
            return loss
        matching = matching_loss(self.teacher.own.values, self.teacher.wanted.values)
        return loss + self.config.matching * matching


def make_trainer(
    model: nn.Module,
    teacher: nn.Module | None,
    config: TrainConfig,
    *,
    task: Task,
    data: Dataset,
    steps: int,
    matched: Matched = (),
    log_dir: Path | None = None,
) -> Trainer:
    """Make a trainer: place ``model``, in train mode, where accelerate wants it.

    Raises:
        UsageError: the machine cannot do what a setting asks for.
    """
    accelerator = _accelerator(config, log_dir)
    require_trainable(config, accelerator.num_processes)
    config = _laid_out(config, model, accelerator)
    _place(model.train(), accelerator, config)
    if config.frozen_norms:
        for module in model.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()
    optimizer = create_optimizer_v2(
        model,
        opt=_optimizer(config),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        filter_bias_and_bn=not config.decay_norms,
        momentum=config.momentum,
        fused=True,
    )
    warmup = int(config.warmup * steps)
    with _unwarned("timm.scheduler.cosine_lr"):  # that a schedule of one step has no effect
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
    network, prepared = accelerator.prepare(_Called(model), optimizer)
    return Trainer(
        accelerator,
        network,
        prepared,
        schedule,
        _teacher(
            model,
            teacher,
            accelerator,
            config,
            data.input_size,
            matched,
            unlabelled=data.train.targets is None,
        ),
        task,
        _mixer(task, config, data),
        config,
        steps,
        TrainState(model, optimizer, average, accelerator.scaler),
    )


@contextlib.contextmanager
def _unwarned(name: str) -> Iterator[None]:
    """Without the warnings of a library's logger."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _mixer(task: Task, config: TrainConfig, data: Dataset) -> Mixer | None:
    """What mixes batches, if that is wanted.

    Raises:
        UsageError: it is wanted, and the task or the data cannot have it.
    """
    if not (config.mixup or config.cutmix):
        return None
    mixer = task.mixer(config, data)
    if mixer is None or isinstance(data.input_size, InputSpec) or data.train.targets is None:
        raise UsageError(
            f"mixup and cutmix mix images and labels, which task {task.name} on {data.name} does "
            "not have; leave them out"
        )
    return mixer


class _Called(nn.Sequential):
    """Calls a network with a batch, whether of images or of named inputs."""

    def forward(self, inputs: Inputs) -> Tensor:
        """The network's outputs, as one tensor."""
        return output_of(self[0], inputs)


def _teacher(
    model: nn.Module,
    teacher: nn.Module | None,
    accelerator: Accelerator,
    config: TrainConfig,
    input_size: InputSize,
    matched: Matched,
    *,
    unlabelled: bool,
) -> Teacher | None:
    if teacher is None or not (config.distillation or (config.matching and matched) or unlabelled):
        return None  # no step would ask it
    network = _folded(teacher, input_size).requires_grad_(requires_grad=False)
    _place(network, accelerator, config)
    if not (config.matching and matched):
        return Teacher(network)
    own, wanted = zip(*matched, strict=True)
    # The copy's first: if these cannot be read, the caller's network is left as it was.
    return Teacher(network, wanted=Taps(network, wanted), own=Taps(model, own))


def _folded(teacher: nn.Module, input_size: InputSize) -> nn.Module:
    """A copy in evaluation mode that answers the same, sooner.

    Its modules have the names that chains know, which those of norms with activations are not in
    the original.

    Args:
        teacher: from inputs to outputs; it is not changed.
        input_size: (C, H, W), or the named inputs.
    """
    try:
        network = trace(teacher, input_size)
    except ModelError:  # whatever has outputs may teach
        return copy.deepcopy(teacher).eval()
    fold_norms(network)
    return network


def require_trainable(config: TrainConfig, number: int, *, images: int | None = None) -> None:
    """Refuse settings that the processes or the machine cannot carry out.

    Args:
        config: of the training.
        number: of processes.
        images: in the train split; a batch holds no more.

    Raises:
        UsageError: a setting does not fit.
    """
    if config.batch_size % number:
        raise UsageError(
            f"batch_size {config.batch_size} cannot be shared by {number} processes; "
            f"make it a multiple of {number}"
        )
    share = config.batch_size // number
    if config.accumulation > share:
        raise UsageError(
            f"accumulation {config.accumulation} is more than the {share} images of a batch"
        )
    paired = min(config.batch_size, images or config.batch_size) // number
    if (config.mixup or config.cutmix) and paired % 2:
        raise UsageError(f"mixup and cutmix pair images; make {paired} per process an even number")
    compilers = (os.environ.get("CXX", "g++"), "clang++", "cl")
    on_cpu = not torch.accelerator.is_available()
    if config.compile and on_cpu and not any(map(shutil.which, compilers)):
        raise UsageError("compile needs a C++ compiler and finds none; run: apt-get install g++")


def require_trackers(trackers: Sequence[str]) -> None:
    """Refuse trackers that accelerate does not know, or that are not installed.

    Raises:
        UsageError: one is such.
    """
    available = [str(tracker) for tracker in get_available_trackers()]
    for tracker in trackers:
        if tracker not in available:
            raise UsageError(
                f"tracker {tracker!r} is unknown or not installed; there are: "
                f"{', '.join(available) or 'none'}; run: pip install {tracker}"
            )


def _optimizer(config: TrainConfig) -> str:
    """An optimizer as timm names it: its ``sgd`` has Nesterov's momentum."""
    plain = config.optimizer == "sgd" and not config.nesterov
    return "momentum" if plain else config.optimizer


def _accelerator(config: TrainConfig, log_dir: Path | None) -> Accelerator:
    trackers = config.trackers if log_dir else ()
    require_trackers(trackers)
    # accelerate keeps the first precision for the whole process; a run may use several.
    AcceleratorState._reset_state()  # noqa: SLF001 - there is no public way
    try:
        accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # else several processes have no CPU
            mixed_precision=config.mixed_precision,
            dynamo_backend="inductor" if config.compile else None,
            log_with=list(trackers) or None,
            project_dir=log_dir.parent if log_dir else None,
        )
    except (ValueError, ImportError) as error:
        raise UsageError(f"mixed_precision {config.mixed_precision}: {error}") from None
    if accelerator.num_processes > 1:
        atexit.register(_leave)
    if trackers and log_dir:
        settings = {name: str(value) for name, value in asdict(config).items()}
        accelerator.init_trackers(log_dir.name, settings)
    return accelerator


def _leave() -> None:
    """Leave the group of processes: one that ends inside it may end with an abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _place(module: nn.Module, accelerator: Accelerator, config: TrainConfig) -> None:
    module.to(accelerator.device).to(memory_format=_layout(config))


def _laid_out(config: TrainConfig, model: nn.Module, accelerator: Accelerator) -> TrainConfig:
    """The settings, less ``channels_last`` where the model must not be trained so."""
    wanted = trained_layout(model, accelerator.device)
    return replace(config, channels_last=config.channels_last and wanted == torch.channels_last)


def _layout(config: TrainConfig) -> torch.memory_format:
    return torch.channels_last if config.channels_last else torch.contiguous_format
