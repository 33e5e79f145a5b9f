"""Compute the task's metric for one side of a check, on its runtime."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from depthopt.check.network_files import Side, opened
from depthopt.core.inputs import Input, InputSize, InputSpec, called
from depthopt.core.metric import Metric
from depthopt.errors import ModelError, UsageError
from depthopt.runtimes.base import Runtime

if TYPE_CHECKING:  # torch takes seconds to import, and most checks need none of it
    from torch import Tensor

    from depthopt.data.dataset import Dataset
    from depthopt.tasks.task import Task

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Judge:
    """Computes the metric of one side on a data set's test split.

    Attributes:
        data: the data set, as ``load_dataset`` takes it; loaded once for each input size.
        task: the task's name.
        runtime: what runs the sides.
    """

    data: str
    task: str
    runtime: Runtime
    _loaded: "dict[InputSize, Dataset]" = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """The metric that is computed."""
        return self._task.metric

    @property
    def _task(self) -> "Task":
        from depthopt.tasks.registry import task_of  # noqa: PLC0415 - torch takes seconds

        return task_of(self.task)

    def __call__(self, side: Side) -> float:
        """The metric of one side.

        Raises:
            UsageError: the task needs the original network, to hold others against.
            ModelError: it takes something else than the data, or gives what the task cannot judge.
        """
        if self._task.imitates:
            raise UsageError(
                f"task {self.task} holds a network against the original's outputs, which a check "
                "does not have; leave out --data, or give a task whose targets the data has"
            )
        from depthopt.data.load import load_dataset  # noqa: PLC0415 - torch takes seconds
        from depthopt.runtimes.session_module import SessionModule  # noqa: PLC0415 - as above
        from depthopt.tasks.evaluate import evaluate  # noqa: PLC0415 - as above

        size = _input_size(side)
        if size not in self._loaded:
            self._loaded[size] = load_dataset(
                self.data, input_size=size, calibration_images=1, seed=0
            )
        data = self._loaded[size]
        network = SessionModule(opened(self.runtime, side.path), batch=_BATCH)
        inputs, _ = next(data.test.batches(1))
        self._require_fit(side, called(network, inputs), data)
        return evaluate(network, data.test.batches(_BATCH), task=self._task).metric

    def _require_fit(self, side: Side, outputs: "Tensor", data: "Dataset") -> None:
        unfit = self._task.why_unfit(outputs, data)
        if unfit is not None:
            raise ModelError(
                f"{side.name} {unfit[0]}; leave out --data, or give the data set it is for"
            )


def _input_size(side: Side) -> InputSize:
    """(channels, height, width) of the one input, or all inputs by name.

    Raises:
        ModelError: the network takes something else than one image, and of one size.
    """
    shapes = side.input_shapes
    if len(shapes) > 1 and not any(None in shape[1:] for shape in shapes.values()):
        sizes = {name: tuple(int(n or 0) for n in shape[1:]) for name, shape in shapes.items()}
        return InputSpec(tuple(Input(name, size) for name, size in sizes.items()))
    (shape, *more) = shapes.values()
    if more or len(shape) != 4 or None in shape[1:]:
        raise ModelError(f"{side.name} does not take images of one size; leave out --data")
    channels, height, width = (int(n or 0) for n in shape[1:])
    return channels, height, width
