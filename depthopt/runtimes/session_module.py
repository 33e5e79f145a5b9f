"""Wrap a runtime's session as a torch module."""

import numpy as np
import torch
from torch import Tensor, nn

from depthopt.runtimes.base import Session


class SessionModule(nn.Module):
    """A session as a module: it maps images (N, C, H, W) or named inputs to the first output.

    They are run in the batches that the session takes; the last ones are repeated to fill one.
    """

    def __init__(self, session: Session, *, batch: int) -> None:
        """Take a session, and the examples per run where it leaves them open."""
        super().__init__()
        self._session = session
        self._names = tuple(session.input_shapes)
        self._batch = next(iter(session.input_shapes.values()))[0] or batch

    def forward(self, *images: Tensor, **named: Tensor) -> Tensor:
        """Run all examples."""
        inputs = named or dict(zip(self._names, images, strict=True))
        outputs, examples = [], len(next(iter(inputs.values())))
        for begin in range(0, examples, self._batch):
            part = {name: x[begin : begin + self._batch] for name, x in inputs.items()}
            filled = {name: _filled(x, self._batch).numpy() for name, x in part.items()}
            here = len(next(iter(part.values())))
            outputs.append(np.array(self._session.run(filled)[0][:here]))
        return torch.from_numpy(np.concatenate(outputs))


def _filled(part: Tensor, batch: int) -> Tensor:
    """A batch whose last example is repeated until it is whole."""
    missing = batch - len(part)
    return torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]).contiguous()
