"""How to train: every choice that a run's weights depend on."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from depthopt.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one training, from scratch or from a compressed network.

    Attributes:
        epochs: passes over the train split.
        batch_size: images per step.
        optimizer: ``adamw``, or ``sgd`` with Nesterov momentum.
        learning_rate: the schedule's peak; it then falls to zero along a cosine.
        warmup: share of all steps in which the learning rate rises linearly.
        weight_decay: of weights; norms and biases have none.
        momentum: of ``sgd``.
        clip_norm: largest norm of the gradient; None does not clip.
        label_smoothing: share of the label's probability spread over all classes.
        distillation: weight of the teacher's answer against the label, where there is a
            teacher.
        temperature: by which logits are divided for the teacher's answer.
        anneal: share of all steps in which inserted activations that start as the identity
            come into their own.
        ema_decay: of the moving average of the weights that the model ends with; it rises
            to this value with the steps. None ends with the last weights.
        augment: change training images at random, as the data set knows how to.
        mixed_precision: ``no``, ``bf16`` or ``fp16``, whichever the device is fast at.
        channels_last: hold images and weights with the channels innermost. On a CPU
            depthwise convolutions train several times as fast.
        evaluate_epochs: measure accuracy on the calibration split after each epoch.
        seed: of order, augmentation and dropout.
        checkpoint_every_s: seconds between checkpoints; 0 writes one after every step.
            The weights do not depend on it.
    """

    epochs: Annotated[int, Gt(0)] = 10
    batch_size: Annotated[int, Gt(0)] = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.1
    weight_decay: Annotated[float, Ge(0)] = 0.05
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    clip_norm: Annotated[float, Gt(0)] | None = 5.0
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1
    distillation: Annotated[float, Ge(0), Le(1)] = 0.9
    temperature: Annotated[float, Gt(0)] = 2.0
    anneal: Annotated[float, Gt(0), Le(1)] = 0.5
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    augment: bool = True
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = True
    evaluate_epochs: bool = False
    seed: int = 0
    checkpoint_every_s: Annotated[float, Ge(0)] = 30.0


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
            f"TrainConfig.{first['loc'][0]} is {first['input']!r}: {first['msg']}"
        ) from None
