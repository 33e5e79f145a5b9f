"""How to train: every choice that a run's weights depend on."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one training, from scratch or from a compressed network.

    Attributes:
        epochs: passes over the train split.
        steps: so many steps instead, which need not be whole epochs.
        batch_size: images per step, over all processes.
        accumulation: parts that a step's images are gone through in, to fit into memory.
        optimizer: ``adamw``, or ``sgd`` with momentum.
        learning_rate: the schedule's peak; it then falls to zero along a cosine.
        warmup: share of all steps in which the learning rate rises linearly.
        weight_decay: of weights.
        decay_norms: norms and biases decay too.
        momentum: of ``sgd``.
        nesterov: the momentum of ``sgd`` is Nesterov's.
        clip_norm: largest norm of the gradient; None does not clip.
        label_smoothing: of classification, share of the label's probability spread over all
            others.
        mixup: alpha of the Beta distribution that images and labels are mixed by (arXiv
            1710.09412); 0 mixes none.
        cutmix: the same for pasting a part of one image into another (arXiv 1905.04899). With
            both, each step does either.
        distillation: weight of the teacher's answer against the target, where there is a
            teacher.
        temperature: of classification, by which outputs are divided for the teacher's answer.
        matching: weight of the teacher's tensors at the ends of replaced segments, beside
            the two.
        anneal: share of all steps in which inserted activations that start as the identity
            come into their own.
        ema_decay: of the moving average of the weights that the model ends with; it rises
            to this value with the steps. None ends with the last weights.
        augment: change training images at random, as the data set knows how to.
        randaugment: timm's description of what else to do to images in files, such as
            ``rand-m9-mstd0.5`` (arXiv 1909.13719).
        mixed_precision: ``no``, ``bf16`` or ``fp16``, whichever the device is fast at.
        channels_last: hold images and weights with the channels innermost. On a CPU
            depthwise convolutions train several times as fast.
        compile: let torch compile the network; needs a C++ compiler on a CPU.
        evaluate_epochs: measure the task's metric, such as the accuracy, on the calibration split
            after each epoch.
        target_metric: stop after the epoch whose metric on the calibration split is as good as
            this, such as 95 for an accuracy of 95 points of 100.
        seed: of order, augmentation and dropout.
        checkpoint_every_s: seconds between checkpoints; 0 writes one after every step.
            The weights do not depend on it.
        trackers: names of accelerate's trackers that are told of the training, such as
            ``tensorboard``. The weights do not depend on them.
    """

    epochs: numbers.Count = 10
    steps: numbers.Count | None = None
    batch_size: numbers.Batch = 128
    accumulation: numbers.Batch = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: numbers.Positive = 2e-3
    warmup: numbers.ShareBelowOne = 0.1
    weight_decay: numbers.NonNegative = 0.05
    decay_norms: bool = False
    momentum: numbers.ShareBelowOne = 0.9
    nesterov: bool = True
    clip_norm: numbers.Positive | None = 5.0
    label_smoothing: numbers.ShareBelowOne = 0.1
    mixup: numbers.NonNegative = 0.0
    cutmix: numbers.NonNegative = 0.0
    distillation: numbers.Share = 0.9
    temperature: numbers.Positive = 2.0
    matching: numbers.NonNegative = 0.0
    anneal: numbers.ShareAboveZero = 0.5
    ema_decay: numbers.ShareBetween | None = None
    augment: bool = True
    randaugment: Annotated[str, Field(pattern=r"^rand(-[a-z]+[0-9.]+)*$")] | None = None
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = True
    compile: bool = False
    evaluate_epochs: bool = False
    target_metric: numbers.Finite | None = None
    seed: numbers.Seed = 0
    checkpoint_every_s: numbers.SecondsOrZero = 30.0
    trackers: tuple[str, ...] = ()


def check_config(config: TrainConfig) -> None:
    """Check the fields of a configuration that was made in Python.

    Raises:
        UsageError: a field is out of its range.
    """
    adapter = TypeAdapter(TrainConfig)
    try:
        adapter.validate_python(adapter.dump_python(config, warnings=False))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"TrainConfig.{first['loc'][0]} is {clipped(first['input'])}: {first['msg']}"
        ) from None
