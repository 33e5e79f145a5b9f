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
        epochs: passes over the training images.
        steps: training steps instead of epochs; they need not be whole epochs.
        batch_size: images per step, over all processes together.
        accumulation: parts that each step's images are split into, to fit into memory.
        optimizer: ``adamw``, or ``sgd`` with momentum.
        learning_rate: the highest learning rate; from there it falls to zero along a cosine.
        warmup: share of all steps during which the learning rate rises from zero.
        weight_decay: decay of the weights.
        decay_norms: norms and biases decay too.
        frozen_norms: batch norms use and keep the statistics that they have, not those of each
            batch, so that a network that imitates another is trained as it will be used.
        momentum: momentum of ``sgd``.
        nesterov: ``sgd`` uses Nesterov's momentum.
        clip_norm: largest norm that a gradient may have; None does not clip.
        label_smoothing: for classification, share of the label's probability that is spread over
            all other classes.
        mixup: alpha of the Beta distribution for mixing images and labels (arXiv 1710.09412); 0
            switches it off.
        cutmix: the same for pasting part of one image into another (arXiv 1905.04899). With both,
            each step does one of the two.
        distillation: weight of the teacher's answer against the target, where there is a teacher.
        temperature: for classification, what outputs are divided by before the answers of teacher
            and student are compared.
        matching: weight of a further loss: how far tensors at the ends of replaced segments are
            from the teacher's.
        anneal: share of all steps in which inserted activations grow from the identity to their
            full effect.
        ema_decay: decay of the moving average of the weights that the network ends with; it rises
            to this value with the steps. None ends with the last weights.
        augment: change training images at random, as the data set knows how to.
        randaugment: further random changes of images in files, in timm's notation, such as
            ``rand-m9-mstd0.5`` (arXiv 1909.13719).
        mixed_precision: ``no``, ``bf16`` or ``fp16``, whichever the device is fast at.
        channels_last: store images and weights with the channels innermost. On a CPU depthwise
            convolutions then train several times as fast.
        compile: let torch compile the network; on a CPU this needs a C++ compiler.
        evaluate_epochs: measure the task's metric, such as the accuracy, on the calibration images
            after each epoch.
        target_metric: stop after the first epoch that reaches this metric on the calibration
            images, such as 95 for 95 % accuracy.
        seed: seed of order, augmentation and dropout.
        checkpoint_every_s: seconds between checkpoints; 0 writes one after every step. The weights
            do not depend on it.
        trackers: accelerate's trackers to report to, such as ``tensorboard``, which writes into
            ``logs`` of the run folder. The weights do not depend on them.
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
    frozen_norms: bool = False
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
