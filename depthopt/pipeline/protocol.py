"""Describe in words how ``finetune`` estimates importances: short training and scoring.

The papers' (ICML 2024, https://arxiv.org/abs/2406.12837; ICML 2023,
https://arxiv.org/abs/2301.12187; the authors' ``measure_imp``): one epoch over 50,000 of
ImageNet's training images, in 195 steps of 256, and scored on 50,000 others of them; that of 2023
trains on all but those. Theirs ends with a last step of the images that are left over.
"""

from dataclasses import asdict

from depthopt.rewrite.options import Start
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import steps_of

PAPERS = TrainConfig(
    epochs=1,
    batch_size=256,
    optimizer="sgd",
    learning_rate=0.1,
    warmup=0.0,
    weight_decay=1e-5,
    decay_norms=True,
    clip_norm=None,
    label_smoothing=0.0,
    distillation=0.0,
)
"""The papers' short training."""

PAPERS_IMAGES = 50_000
"""Training images that the papers train on, and as many others that they score on."""

_REDUCED = "reduced"
"""Of less than the papers train or score."""

_SAID = {"epochs", "steps", "batch_size", "optimizer", "learning_rate"}
"""Settings that the words begin with."""

_WITHOUT_EFFECT = {
    "seed",
    "channels_last",
    "compile",
    "evaluate_epochs",
    "checkpoint_every_s",
    "trackers",
}
"""Settings that change nothing but roundings, and the seed, which changes all."""


def protocol(
    config: TrainConfig, *, train_images: int, score_images: int, held_out: str, start: Start
) -> str:
    """The words of a protocol. They are equal if everything that scores depend on is equal.

    Of the papers they are ``195 steps of 256, sgd 0.1, scored on 50000 training images``; what is
    otherwise than theirs follows, and the word ``reduced`` where less is trained or scored.

    Args:
        config: the short training.
        train_images: how many there are to train on.
        score_images: how many there are to score on.
        held_out: which these are: ``training`` or ``calibration``.
        start: how inserted activations begin.
    """
    batch = min(config.batch_size, train_images)
    steps = steps_of(config, train_images)
    words = [
        f"{steps} steps of {batch}",
        f"{config.optimizer} {config.learning_rate:g}",
        f"scored on {score_images} {held_out} images",
    ]
    papers = asdict(PAPERS)
    for name, value in asdict(config).items():
        if name in _SAID | _WITHOUT_EFFECT | _idle(config, start) or value == papers[name]:
            continue
        words.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    if start != "at_once":
        words.append(f"activations {start}")
    trained = steps_of(PAPERS, PAPERS_IMAGES) * PAPERS.batch_size
    if steps * batch < trained or score_images < PAPERS_IMAGES:
        words.append(_REDUCED)
    return ", ".join(words)


def _idle(config: TrainConfig, start: Start) -> set[str]:
    """Settings that this training has no use for; of tensors matched there are none."""
    idle = {"matching"}
    if config.optimizer != "sgd":
        idle |= {"momentum", "nesterov"}
    if not config.distillation:
        idle.add("temperature")
    if start == "at_once":
        idle.add("anneal")
    return idle
