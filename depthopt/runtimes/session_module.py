"""A runtime's session as a torch module."""

import numpy as np
import torch
from torch import Tensor, nn

from depthopt.runtimes.base import Session


class SessionModule(nn.Module):
    """A session with one input, from images (N, C, H, W) to its first output.

    Images are run in the batches that the session takes; the last ones are repeated to fill one.
    """

    def __init__(self, session: Session, *, batch: int) -> None:
        """Take a session, and the images per run where it leaves them open."""
        super().__init__()
        self._session = session
        ((self._name, shape),) = session.input_shapes.items()
        self._batch = shape[0] or batch

    def forward(self, images: Tensor) -> Tensor:
        """Run all images."""
        outputs = []
        for part in torch.split(images, self._batch):
            missing = self._batch - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])
            found = self._session.run({self._name: filled.contiguous().numpy()})
            outputs.append(np.array(found[0][: len(part)]))
        return torch.from_numpy(np.concatenate(outputs))
