"""What a convolution of a shallow network sees, and what it should give."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, fx

from depthopt.core.spec import ConvSpec
from depthopt.errors import DataError
from depthopt.graph.partial import record
from depthopt.rewrite.regression import Regression

HELD_OUT_EVERY, MOST_HELD_OUT = 5, 4
"""Of so many calibration batches, one is held out to choose the regularisation by, but no
more than so many: these are kept in memory, all others are not."""


class Pairs:
    """Inputs and wanted outputs of one convolution, batch by batch.

    Wanted is what brings the *shallow* network's tensor at the end of the segment, its
    residual adds included, closest to the original's.

    Args:
        student: the shallow network.
        teacher: the original, traced.
        conv: the student's node that reads the inputs.
        linear: the student's node of the output, before any add: ``conv``, or its norm.
        adds: how many residuals are added to that.
        wanted: the teacher's node of the tensor behind those adds.
    """

    def __init__(
        self,
        student: fx.GraphModule,
        teacher: fx.GraphModule,
        *,
        conv: fx.Node,
        linear: fx.Node,
        adds: int,
        wanted: str,
    ) -> None:
        self._student, self._teacher, self._wanted = student, teacher, wanted
        self._input = conv.all_input_nodes[0].name
        self._added = tuple(_added_to(linear, adds))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The input and the wanted output for images (N, C, H, W).

        Raises:
            DataError: either is not finite.
        """
        seen = record(self._student, images, {self._input, *self._added})
        wanted = record(self._teacher, images, {self._wanted})[self._wanted]
        for name in self._added:
            wanted = wanted - seen[name]
        inputs = seen[self._input]
        if not (bool(torch.isfinite(inputs).all()) and bool(torch.isfinite(wanted).all())):
            raise DataError(
                f"the tensors {self._input} or {self._wanted} hold NaN or infinite values on "
                "calibration images; check the weights and the images"
            )
        return inputs, wanted

    def accumulate(
        self, spec: ConvSpec, name: str, batches: Collection[Tensor]
    ) -> tuple[Regression, Tensor, Tensor]:
        """The regression over most batches, and inputs and wanted outputs of those held out.

        Args:
            spec: the convolution.
            name: of the regression's one target, and for messages.
            batches: batches of images.

        Raises:
            DataError: there are too few batches to hold one out.
        """
        device = next(self._teacher.parameters()).device
        regression = Regression(spec, {name: spec.out_channels}, device)
        held_out: list[tuple[Tensor, Tensor]] = []
        for index, images in enumerate(batches):
            inputs, wanted = self(images.to(regression.device))
            if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 and len(held_out) < MOST_HELD_OUT:
                held_out.append((inputs, wanted))
            else:
                regression.add(inputs, {name: wanted})
        if not held_out:
            raise DataError(
                f"{len(batches)} calibration batches are too few to fit {name}: one in "
                f"{HELD_OUT_EVERY} is held out; give at least {HELD_OUT_EVERY} batches"
            )
        inputs, wanted = (torch.cat(tensors) for tensors in zip(*held_out, strict=True))
        return regression, inputs, wanted


def _added_to(node: fx.Node, adds: int) -> Iterator[str]:
    """The names of the tensors that the next ``adds`` additions add to ``node``."""
    for _ in range(adds):
        (user,) = node.users
        left, right = user.all_input_nodes
        yield (right if left is node else left).name
        node = user
