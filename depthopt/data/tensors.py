"""Examples of any kind, held in memory as tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from depthopt.core.inputs import Inputs, count
from depthopt.data.dataset import Batch, batch_indices
from depthopt.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class TensorSplit:
    """Inputs and targets that are used unchanged: not resized, normalised or augmented.

    Attributes:
        inputs: (n, ...), or by name.
        targets: (n, ...), or None where there are none.
    """

    inputs: Inputs
    targets: Tensor | None = None

    def __len__(self) -> int:
        return count(self.inputs)

    def subset(self, indices: Tensor) -> "TensorSplit":
        """The examples at ``indices``."""
        targets = None if self.targets is None else self.targets[indices]
        return TensorSplit(_at(self.inputs, indices), targets)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        augment: bool = False,  # noqa: ARG002 - there is no way to augment what may be anything
        randaugment: str | None = None,
        skip: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """See ``Split.batches``.

        Raises:
            DataError: ``randaugment``, which is for images in files, is asked for.
        """
        if randaugment is not None:
            raise DataError("randaugment is for images in files; leave it out for this data set")
        for chosen in batch_indices(
            len(self), batch_size, shuffle_seed=shuffle_seed, skip=skip, part=part
        ):
            targets = None if self.targets is None else self.targets[chosen]
            yield _at(self.inputs, chosen), targets


def _at(inputs: Inputs, indices: Tensor) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: tensor[indices] for name, tensor in inputs.items()}
    return inputs[indices]
