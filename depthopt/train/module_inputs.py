"""Read the inputs of a network's modules while it runs."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from depthopt.errors import UsageError


class Taps:
    """The inputs of some of a network's modules in its last forward pass."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        """Begin to read.

        Args:
            network: is hooked until ``remove``.
            names: of modules with one input.

        Raises:
            UsageError: there is no module of such a name.
        """
        modules = dict(network.named_modules(remove_duplicate=False))
        if unknown := [name for name in names if name not in modules]:
            raise UsageError(
                f"{', '.join(unknown)} cannot be matched: no module of that name; "
                "segment_ends(chain, plan) gives those of a plan"
            )
        self._names = tuple(names)
        self._values: list[Tensor | None] = [None] * len(names)
        self._hooks = [
            modules[name].register_forward_pre_hook(self._reader(i)) for i, name in enumerate(names)
        ]

    @property
    def values(self) -> list[Tensor]:
        """One input for each name. They are not kept.

        Raises:
            UsageError: a module took no part in the forward pass.
        """
        values, self._values = self._values, [None] * len(self._values)
        if idle := [n for n, value in zip(self._names, values, strict=True) if value is None]:
            raise UsageError(
                f"{', '.join(idle)} cannot be matched: no part of the traced forward pass; name "
                "single layers, as segment_ends(chain, plan) does"
            )
        return [value for value in values if value is not None]

    def remove(self) -> None:
        """Read no more."""
        for hook in self._hooks:
            hook.remove()

    def _reader(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._values[index] = inputs[0]

        return read
