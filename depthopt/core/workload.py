"""Amounts of work, in units that do not depend on the machine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """An amount of work, as estimated by the module that does the work.

    Attributes:
        forward_images: passes of one image through the original network, or as much in parts.
        trained_images: passes of one image forward and backward.
        macs64: multiply-accumulates in float64.
        clock_s: seconds that are spent by the clock, on any machine.
        memory_bytes: of tensors held at once, beside those of ``kept_images``.
        kept_images: images whose tensors are kept at once for a backward pass.
    """

    forward_images: float = 0
    trained_images: float = 0
    macs64: float = 0
    clock_s: float = 0
    memory_bytes: int = 0
    kept_images: int = 0

    def __add__(self, other: "Workload") -> "Workload":
        """The work of both, one after the other."""
        return Workload(
            self.forward_images + other.forward_images,
            self.trained_images + other.trained_images,
            self.macs64 + other.macs64,
            self.clock_s + other.clock_s,
            max(self.memory_bytes, other.memory_bytes),
            max(self.kept_images, other.kept_images),
        )

    def __mul__(self, times: int) -> "Workload":
        """The work of several repeats, one after the other."""
        return sum([self] * times, Workload())
