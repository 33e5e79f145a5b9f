"""The task ``classification``: one logit per class. The largest is the answer."""

from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.core.metric import Metric
from depthopt.data.dataset import Dataset
from depthopt.errors import DataError
from depthopt.tasks.classifier import regress_classifier
from depthopt.tasks.task import Chance, Mixer, Settings, Task, weighed


def training_loss(
    logits: Tensor, labels: Tensor | None, teacher_logits: Tensor | None, settings: Settings
) -> Tensor:
    """``(1 - w) * cross_entropy + w * T**2 * KL(teacher / T || student / T)``.

    ``w`` is ``settings.distillation`` (0 without a teacher, 1 without labels), ``T`` the
    temperature. The square keeps the gradient's size independent of T (Hinton et al., arXiv
    1503.02531, section 2).

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)`` int64, or ``(n, classes)`` probabilities, smoothed already, or None.
        teacher_logits: ``(n, classes)``, or None.
        settings: of the training.
    """
    hard = soft = None
    if labels is not None:
        smoothing = 0.0 if labels.is_floating_point() else settings.label_smoothing
        hard = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    if teacher_logits is not None:
        soft = settings.temperature**2 * F.kl_div(
            F.log_softmax(logits / settings.temperature, dim=1),
            F.log_softmax(teacher_logits / settings.temperature, dim=1),
            log_target=True,
            reduction="batchmean",
        )
    return weighed(hard, soft, settings)


def _divergence(logits: Tensor, original: Tensor) -> Tensor:
    """KL(original || logits), in nats."""
    log_p, log_t = logits.log_softmax(1), original.log_softmax(1)
    return (log_t.exp() * (log_t - log_p)).sum()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).sum()


def _classes(data: Dataset) -> int:
    return len(data.class_names)


def _why_unfit(logits: Tensor, data: Dataset) -> tuple[str, str] | None:
    classes, found = _classes(data), tuple(logits.shape[1:])
    if found == (classes,):
        return None
    numbers = "x".join(map(str, found))
    return (
        f"gives {numbers} numbers for an image, {data.name} has {classes} classes",
        f"call reset_classifier({classes}), or create it with num_classes={classes}",
    )


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    if labels.dim() != 1 or labels.is_floating_point():
        raise DataError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected one whole number "
            "an image; of rows with a one take labels.argmax(1), of floats labels.long()"
        )
    if logits.dim() != 2:
        raise DataError(
            f"the network gives numbers of shape {tuple(logits.shape)}, expected (images, classes)"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())} do not fit a network of "
            f"{logits.shape[1]} classes"
        )


def _unseen(data: Dataset) -> str | None:
    labels = data.calibration.targets
    seen = set() if labels is None else set(labels.tolist())
    missing = [name for label, name in enumerate(data.class_names) if label not in seen]
    if not missing:
        return None
    return (
        f"the {len(data.calibration)} calibration images hold none of {len(missing)} classes "
        f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}), which scores do not "
        "see; raise data.calibration_images"
    )


def _chance(labels: Tensor) -> Chance:
    """The commonest class's share, by two standard errors or a twentieth of what is above it."""
    share = float(labels.bincount().max()) / len(labels)
    noise = 2 * (share * (1 - share) / len(labels)) ** 0.5
    return Chance(100 * share, 100 * max(noise, (1 - share) / 20))


def _mixer(settings: Settings, data: Dataset) -> Mixer | None:
    if not (settings.mixup or settings.cutmix):
        return None
    mixup: Mixer = Mixup(
        settings.mixup,
        settings.cutmix,
        label_smoothing=settings.label_smoothing,
        num_classes=_classes(data),
    )
    return mixup


TASK = Task(
    name="classification",
    metric=Metric("accuracy", "%", scale=100),
    divergence=_divergence,
    loss=_loss,
    measure=_correct,
    training_loss=training_loss,
    output="logits",
    width=_classes,
    why_unfit=_why_unfit,
    check_targets=_check_labels,
    unseen=_unseen,
    chance=_chance,
    figures=("best_acc1", "acc1", "best_acc", "acc", "val_acc", "accuracy", "top1", "metric"),
    mixer=_mixer,
    regress_head=lambda network, fitting, held_out, settings: regress_classifier(
        network, fitting, held_out, label_smoothing=settings.label_smoothing
    ),
)
