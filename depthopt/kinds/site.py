"""The place in a network where a replacement is put in, and what was put there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.rewrite.options import Form

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx, nn

Weights = tuple[tuple["Tensor", "Tensor"], ...]
"""For each of a candidate's operators its weight (out, in / groups, kH, kW) and bias (out,); of a
``narrow`` for the last alone, over all of the original's channels and 0 for those that go, and then
those of the gate on them, if there is one."""


@dataclass(frozen=True, slots=True)
class New:
    """The modules that a replacement put into a network.

    Attributes:
        name: path of the module that reads the tensor at the segment's start.
        last: path of the module that gives the tensor at its end, before any add.
    """

    name: str
    last: str


class Site(Protocol):
    """A segment of a network that is being rewritten."""

    @property
    def chain(self) -> Chain:
        """The original's chain."""
        ...

    @property
    def network(self) -> "fx.GraphModule":
        """The network, with the original's modules under their names."""
        ...

    @property
    def form(self) -> Form:
        """Whether merges are trained as one convolution, or as their parts."""
        ...

    def at(self, position: int) -> "fx.Node":
        """The current tensor at a position."""
        ...

    def operand(self, skip: Skip) -> "fx.Node":
        """The current tensor that a skip adds."""
        ...

    def call(self, name: str, module: "nn.Module", node: "fx.Node") -> "fx.Node":
        """Add a module under a name, and call it with a node's value."""
        ...


def module_name(candidate: Candidate) -> str:
    """Path of the module that replaces a segment."""
    return f"segment_{candidate.start}_{candidate.end}"
