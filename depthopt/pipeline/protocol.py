"""How importances of ``finetune`` come about, in words, and whether that is less than the papers'.

These are LayerMerge (arXiv 2406.12837) and the programme of 2023 (arXiv 2301.12187).
"""

from depthopt.core.counted import counted
from depthopt.pipeline.sections import ImportanceSection
from depthopt.tables.importance import ImportanceTable
from depthopt.train.finetune import steps_of

PAPERS_IMAGES, PAPERS_SCORED = 195 * 256, 50_000
"""Training images that both papers train each candidate on, and score it on."""

REDUCED = "reduced"
"""What stands in a protocol that is less than the papers'."""


def protocol(section: ImportanceSection, trained: int, scored: int) -> str:
    """The same words for the same protocol; empty of an estimator that does not train.

    Args:
        section: of the recipe.
        trained: images that there are to train on.
        scored: images that are scored on.
    """
    if section.estimator != "finetune":
        return ""
    config = section.train
    steps, batch = steps_of(config, trained), min(config.batch_size, trained)
    images = counted(scored, "image")
    of = "training" if section.score_images is not None else "calibration"
    less = steps * batch < PAPERS_IMAGES or scored < PAPERS_SCORED
    return ", ".join(
        [
            *([REDUCED] if less else []),
            f"{counted(steps, 'step')} of {batch} on {counted(trained, 'image')}",
            f"{config.optimizer} at {config.learning_rate:g}",
            f"weight decay {config.weight_decay:g}",
            f"distillation {config.distillation:g}",
            f"activations {section.start}",
            f"scored on {images} of the {of} split",
        ]
    )


def is_reduced(table: ImportanceTable) -> bool:
    """Whether a table's protocol is less than the papers'."""
    return REDUCED in table.protocol


def reduced(table: ImportanceTable) -> str:
    """The word, for the end of a sentence; empty where it is not so."""
    return f" ({REDUCED} protocol)" if is_reduced(table) else ""
