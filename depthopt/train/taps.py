"""Reading what goes into a network's modules while it runs."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Taps:
    """The inputs of some of a network's modules, as its last forward pass left them."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        """Begin to read.

        Args:
            network: is hooked until ``remove``.
            names: of modules with one input.
        """
        self._values: list[Tensor | None] = [None] * len(names)
        self._hooks = [
            network.get_submodule(name).register_forward_pre_hook(self._reader(i))
            for i, name in enumerate(names)
        ]

    @property
    def values(self) -> list[Tensor]:
        """One input for each name; they are let go of."""
        values = [value for value in self._values if value is not None]
        self._values = [None] * len(self._values)
        return values

    def remove(self) -> None:
        """Read no more."""
        for hook in self._hooks:
            hook.remove()

    def _reader(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._values[index] = inputs[0]

        return read
