"""Examples whose targets are what a network gives for them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from depthopt.core.inputs import called, moved
from depthopt.data.dataset import Batch, Dataset, Split


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A split with a network's outputs for targets, or with none. Its own are not read.

    Attributes:
        split: whose inputs these are.
        network: in evaluation mode, which gives the targets when a batch is read; None for none.
    """

    split: Split
    network: nn.Module | None = None

    @property
    def targets(self) -> Tensor | None:
        """None: those that the network gives are never in memory together."""
        return None

    def __len__(self) -> int:
        return len(self.split)

    def subset(self, indices: Tensor) -> "Answered":
        """The examples at ``indices``."""
        return replace(self, split=self.split.subset(indices))

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        augment: bool = False,
        randaugment: str | None = None,
        skip: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """See ``Split.batches``."""
        for inputs, _ in self.split.batches(
            batch_size,
            shuffle_seed=shuffle_seed,
            augment=augment,
            randaugment=randaugment,
            skip=skip,
            part=part,
        ):
            if self.network is None:
                yield inputs, None
                continue
            like = next(self.network.parameters())
            with torch.no_grad():
                answer: Tensor = called(self.network, moved(inputs, like))
            yield inputs, answer.float().cpu()


def answered(data: Dataset, network: nn.Module) -> Dataset:
    """A data set to imitate a network on.

    What is trained on has no targets: a training asks its teacher. What is held out and tested on
    has the network's outputs.

    Args:
        data: with targets or without.
        network: in evaluation mode.
    """
    return replace(
        data,
        class_names=(),
        train=Answered(data.train),
        calibration=Answered(data.calibration, network),
        test=Answered(data.test, network),
    )
