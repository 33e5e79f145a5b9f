"""An operator that this installation does not know. It only has a name."""

from dataclasses import dataclass, field

from depthopt.core.shapes import Pair
from depthopt.errors import UsageError


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operator in a file, from a package that is not installed.

    Attributes:
        text: its canonical name.
        reason: why it is not known; what using it raises.
    """

    text: str
    reason: str = field(compare=False)

    @property
    def in_channels(self) -> int:
        """Not known.

        Raises:
            UsageError: always, and so does all else.
        """
        raise UsageError(self.reason)

    @property
    def out_channels(self) -> int:
        """Not known."""
        raise UsageError(self.reason)

    @property
    def is_depthwise(self) -> bool:
        """Not known."""
        raise UsageError(self.reason)

    @property
    def parameters(self) -> int:
        """Not known."""
        raise UsageError(self.reason)

    def output_size(self, input_size: Pair) -> Pair:  # noqa: ARG002 - every operator has it
        """Not known."""
        raise UsageError(self.reason)

    def macs(self, input_size: Pair) -> int:  # noqa: ARG002 - every operator has it
        """Not known."""
        raise UsageError(self.reason)

    def __str__(self) -> str:
        """Its name, as it was read."""
        return self.text
