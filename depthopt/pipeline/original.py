"""Make the original network with the weights that the recipe names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from depthopt.errors import DepthoptError, UsageError
from depthopt.models.checkpoints import load_checkpoint
from depthopt.models.head import new_head
from depthopt.models.names import runs_code
from depthopt.models.registry import trained_for
from depthopt.pipeline.context import Context


@dataclass(frozen=True, slots=True)
class Start:
    """The original before the first stage.

    Attributes:
        model: with the weights that it has by then.
        trained: whether it is trained in the run, and not merely loaded.
        said: what was done to it, in words; empty if nothing was.
        figures: numbers that its checkpoint holds beside the weights, by name.
    """

    model: nn.Module
    trained: bool
    said: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def start(run: Context) -> Start:
    """Make the original, and load the weights that the recipe names.

    A source's weights, a checkpoint's and those of a network in memory are trained on, too, where
    the last layer is a new one.

    Raises:
        UsageError: it would have to be trained, and the task is to imitate it.
        DepthoptError: it cannot be made, or the checkpoint is not its own.
    """
    begun = _start(run)
    if run.task.imitates and begun.trained:
        why = f" ({begun.said})" if begun.said else ""
        raise UsageError(
            f"task {run.task.name} imitates the original, which would have to be trained "
            f"first{why}: set model.checkpoint, or model.pretrained: true where the source has "
            "weights, and model.arguments as the weights have them"
        )
    return begun


def _start(run: Context) -> Start:
    recipe, section = run.recipe, run.recipe.model
    name, path = recipe.network, recipe.checkpoint
    pretrained = section.pretrained and path is None
    model = run.new_model(pretrained=pretrained)
    if path is not None:
        loaded = load_checkpoint(model, path, name=name)
        return Start(model, loaded.head_replaced is not None, loaded.said, loaded.figures)
    replaced = new_head(model)
    if run.model is not None or (pretrained and runs_code(name)):
        return Start(model, replaced is not None, replaced or "")
    return Start(model, _is_trained_by_name(run), replaced or "")


def _is_trained_by_name(run: Context) -> bool:
    """Whether what a source makes is trained: that is known without making it."""
    if not run.recipe.model.pretrained:
        return True
    return not run.task.imitates and trained_for(run.recipe.network) != run.task.width(run.data)


def figures(run: Context) -> Mapping[str, float]:
    """Figures in the original's checkpoint. None if the original is trained further.

    Nor does a checkpoint say anything that is gone since.
    """
    path = run.recipe.checkpoint
    if path is None or not path.is_file():
        return {}
    try:
        begun = start(run)
    except DepthoptError:
        return {}
    return {} if begun.trained else begun.figures


def teacher_is_trained(run: Context) -> bool:
    """Whether the run trains the original, and does not only load it.

    A checkpoint that cannot be read counts as loaded: reading it says what is wrong.
    """
    recipe = run.recipe
    if recipe.checkpoint is None and run.model is None:
        own_weights = recipe.model.pretrained and runs_code(recipe.network)
        if not own_weights:
            return _is_trained_by_name(run)
    try:
        return start(run).trained
    except UsageError:
        return False
