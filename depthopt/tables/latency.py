"""The latency table: measured latencies, keyed by what runs."""

import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.inputs import InputSize, parse_size, size_text
from depthopt.core.operators import Activation, Convolution, Operator, parse_operator, reads_tokens
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema
from depthopt.errors import TableError


@dataclass(frozen=True, slots=True, repr=False)
class LatencyKey:
    """The key of a latency entry: what runs, independent of where.

    Attributes:
        operator: the convolution or pooling, or the identity where only what follows runs.
        input_size: (height, width) of its input; (T, 1) of tokens.
        activation: after it, or None.
        residual: whether a residual is added between the two.
    """

    operator: Operator
    input_size: Pair
    activation: Activation | None = None
    residual: bool = False

    def __str__(self) -> str:
        """The canonical name under which files hold the entry."""
        word = "conv " if isinstance(self.operator, Convolution) else ""
        of_tokens = reads_tokens(self.operator) and self.input_size[1] == 1
        size = self.input_size[:1] if of_tokens else self.input_size
        parts = [f"{word}{self.operator}", f"@{'x'.join(map(str, size))}"]
        if self.residual:
            parts.append("+add")
        if self.activation is not None:
            parts.append(str(self.activation))
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"LatencyKey {str(self)!r}"

    @property
    def parameters_read(self) -> int:
        """Number of weights and biases that are read when it runs."""
        match self.operator:
            case Convolution() as convolution:
                return convolution.parameters_read(self.input_size)
            case other:
                return other.parameters

    @classmethod
    def parse(cls, text: str) -> "LatencyKey":
        """The key that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _KEY.fullmatch(text)
        operator = None if found is None else parse_operator(found["operator"])
        tokens = operator is not None and reads_tokens(operator)
        if found is None or operator is None or not (tokens or "x" in found["size"]):
            raise ValueError(f"{text!r} is not an entry, such as 'conv 8-8 k1x1 @7x7 +add relu'")
        part = found.groupdict()
        height, _, width = part["size"].partition("x")
        activation = part["activation"]
        return cls(
            operator,
            (int(height), int(width or 1)),
            None if activation is None else Activation.parse(activation),
            part["residual"] is not None,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_KEY = re.compile(
    rf"(conv (?=\d)|(?!\d))(?P<operator>[^@]+) @(?P<size>{numbers.NATURAL}(x{numbers.NATURAL})?)"
    r"(?P<residual> \+add)?( (?P<activation>[a-z]\S*))?"
)


@dataclass(frozen=True, slots=True, repr=False)
class NetworkKey:
    """Which network a table holds, and at which input size.

    Attributes:
        model: its name.
        input_size: (channels, height, width) of its image, or its named inputs.
    """

    model: str
    input_size: InputSize

    @classmethod
    def of(cls, chain: Chain) -> "NetworkKey":
        """The key of a chain's network."""
        return cls(chain.model, chain.input_size)

    def __str__(self) -> str:
        """The canonical name under which files hold it, such as ``resnet18 @3x224x224``."""
        return f"{self.model} @{size_text(self.input_size)}"

    def __repr__(self) -> str:
        return f"NetworkKey {str(self)!r}"

    @classmethod
    def parse(cls, text: str) -> "NetworkKey":
        """The key that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        model, at, size = text.rpartition(" @")
        try:
            if at and model:
                return cls(model, parse_size(size))
        except ValueError:
            pass
        raise ValueError(f"{text!r} is not a network, such as 'resnet18 @3x224x224'")

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


@dataclass(frozen=True, slots=True, repr=False)
class LatencySummary:
    """Quartiles of ``count`` repeated measurements, in milliseconds per batch.

    Attributes:
        median_ms: of all measurements, outliers included.
        q1_ms: a quarter of them were faster.
        q3_ms: a quarter of them were slower.
        count: how many there were.
        settled: whether measuring ended because the median's confidence interval was
            narrow enough, and not by a cap; None where that is unknown.
    """

    median_ms: numbers.Milliseconds
    q1_ms: numbers.Milliseconds
    q3_ms: numbers.Milliseconds
    count: numbers.CountOrZero
    settled: bool | None = None

    def __repr__(self) -> str:
        return (
            f"LatencySummary: {self.median_ms:.4g} ms ({self.q1_ms:.4g} to {self.q3_ms:.4g}, "
            f"{counted(self.count, 'measurement')})"
        )

    def scaled(self, factor: float) -> "LatencySummary":
        """The same measurements on a machine that takes ``factor`` times as long."""
        return replace(
            self,
            median_ms=self.median_ms * factor,
            q1_ms=self.q1_ms * factor,
            q3_ms=self.q3_ms * factor,
        )


@dataclass(frozen=True, slots=True, repr=False)
class MeasurementConditions:
    """The conditions of a latency measurement. Unlike conditions never mix.

    Attributes:
        device: the processor's or accelerator's name.
        runtime: ``onnxruntime``, ``openvino``, ``tensorrt``, ``torch``.
        runtime_version: its version.
        threads: intra-operator threads; None on an accelerator, which has none to choose.
        dtype: ``float32``, ``float16``, ``int8``.
        batch: images per inference.
        date: ISO date of the first entry; not compared.
        clock_mhz: clock where readable; not compared.
        ballast_mib: what an entry and the data read before it made up together, in MiB, where
            networks' footprints were measured apart from it (``NetworkLatency``); None where
            that was the network's own size.
    """

    device: str
    runtime: str
    runtime_version: str
    threads: numbers.ThreadsOrZero | None
    dtype: str
    batch: numbers.Batch
    date: str = ""
    clock_mhz: numbers.NonNegative | None = None
    ballast_mib: numbers.Positive | None = None

    def __repr__(self) -> str:
        return f"MeasurementConditions: {self.text}"

    @property
    def text(self) -> str:
        """The compared conditions in one line, such as ``..., float32, batch 1, 1 thread``."""
        threads = "" if not self.threads else f", {counted(self.threads, 'thread')}"
        runtime = f"{self.runtime} {self.runtime_version}"
        return f"{self.device}, {runtime}, {self.dtype}, batch {self.batch}{threads}"

    def with_ballast(self, mebibytes: float | None) -> "MeasurementConditions":
        """These conditions, with another ballast."""
        return replace(self, ballast_mib=mebibytes)

    def unlike(self, other: "MeasurementConditions") -> str | None:
        """The differences that forbid a comparison, as a message. None if there are none."""
        mine, theirs = (asdict(each) | {"threads": each.threads or 0} for each in (self, other))
        differences = [
            f"{name} {mine[name]!r} against {theirs[name]!r}"
            for name in mine
            if name not in {"date", "clock_mhz"} and mine[name] != theirs[name]
        ]
        return ", ".join(differences) or None


BALLAST_MIB = 4.0
"""Size of an entry and the data read before it, where footprints are measured apart: more than a
core's own cache holds, and little for a shared one."""

FOOTPRINT_PLANS = 8
"""Number of plans that are timed to learn a network's footprints."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The networks that read no more weights than some number, and their latency.

    Attributes:
        parameters: most weights and biases that their blocks read in one inference.
        factor: their latency over the sum of their entries and the fixed part.
    """

    parameters: numbers.Parameters
    factor: numbers.Positive


@dataclass(frozen=True, slots=True)
class NetworkLatency:
    """The latency of a whole original network.

    A network made from it takes the sum of its entries and the fixed part, times the factor of
    its footprint: the more weights it reads, the further away are the caches they come from.

    Attributes:
        total: its end-to-end latency.
        fixed_ms: the part that no candidate touches (head, pooling, call overhead):
            end to end less the sum of its blocks' entries, from one process.
        blocks_share: what its blocks' entries and a bare call summed up to, over end to
            end, as measured and before any of it was brought to scale; None where that
            is unknown. What is missing to 1 is the head and pooling; far above 1, entries
            are not additive here.
        covers: the sets of candidates that were asked for, each in words: all of their
            entries are in the table, but for those that the runtime cannot run.
        footprints: by rising parameters, with rising factors. The last holds of all that read
            more, too. Where there are none, the factor is 1.
        parameters: weights and biases that its own blocks read; None where that is unknown.
    """

    total: LatencySummary
    fixed_ms: numbers.Finite
    blocks_share: numbers.Finite | None = None
    covers: tuple[str, ...] = ()
    footprints: tuple[Footprint, ...] = ()
    parameters: numbers.Parameters | None = None

    def __post_init__(self) -> None:
        """Check the order of the footprints.

        Raises:
            ValueError: parameters or factors do not rise.
        """
        for before, after in pairwise(self.footprints):
            if after.parameters <= before.parameters or after.factor < before.factor:
                raise ValueError("footprints must have rising parameters and rising factors")

    def factor(self, parameters: int) -> float:
        """The factor of a network whose blocks read so many weights and biases."""
        if not self.footprints:
            return 1.0
        return next(
            (each.factor for each in self.footprints if parameters <= each.parameters),
            self.footprints[-1].factor,
        )

    def scaled(self, factor: float) -> "NetworkLatency":
        """The same network on a machine that takes ``factor`` times as long."""
        return replace(self, total=self.total.scaled(factor), fixed_ms=self.fixed_ms * factor)


@dataclass(frozen=True, slots=True, repr=False)
class LatencyTable:
    """Latency of everything that may run on one device under one set of conditions.

    Attributes:
        conditions: what the entries were measured on and how.
        entries: summaries by what runs.
        networks: the original networks that it was measured for.
    """

    conditions: MeasurementConditions
    entries: dict[LatencyKey, LatencySummary] = field(default_factory=dict)
    networks: dict[NetworkKey, NetworkLatency] = field(default_factory=dict)

    def __repr__(self) -> str:
        entries = counted(len(self.entries), "entry", "entries")
        networks = ", ".join(map(str, self.networks)) or "no network"
        return f"LatencyTable of {networks}: {entries}, on {self.conditions.text}"

    def missing(self, keys: Iterable[LatencyKey]) -> tuple[LatencyKey, ...]:
        """The keys without an entry, each once, in order."""
        return tuple(dict.fromkeys(key for key in keys if key not in self.entries))

    def with_entries(self, entries: Mapping[LatencyKey, LatencySummary]) -> "LatencyTable":
        """This table with ``entries`` added. New entries replace old ones with equal keys."""
        return replace(self, entries={**self.entries, **entries})

    def combined(self, other: "LatencyTable") -> "LatencyTable":
        """Both tables' entries. ``other``'s replace those with equal keys.

        Raises:
            TableError: the two were measured under unlike conditions.
        """
        if difference := self.conditions.unlike(other.conditions):
            raise TableError(
                f"latency tables of unlike conditions never mix: {difference}; "
                "measure both under the same conditions"
            )
        return replace(
            self,
            entries=self.entries | other.entries,
            networks=self.networks | other.networks,
        )

    def extended(self, other: "LatencyTable") -> "LatencyTable":
        """This table with the further entries of ``other``, brought to this one's scale.

        The scale is the median ratio of the entries that both hold: two processes on one
        machine differ by how busy it was.

        Raises:
            TableError: the two were measured under unlike conditions.
        """
        ratios = [
            entry.median_ms / other.entries[key].median_ms
            for key, entry in self.entries.items()
            if key in other.entries and other.entries[key].median_ms > 0
        ]
        factor = statistics.median(ratios) if ratios else 1.0
        entries = {
            key: entry.scaled(factor)
            for key, entry in other.entries.items()
            if key not in self.entries
        }
        networks = {
            key: _joined(self.networks.get(key), theirs.scaled(factor))
            for key, theirs in other.networks.items()
        }
        return self.combined(LatencyTable(other.conditions, entries, networks))

    def covering(self, network: NetworkKey, candidates: str) -> "LatencyTable":
        """This table, marked as holding all entries of these candidates of a network.

        Args:
            network: one that the table holds.
            candidates: the set of candidates in words.
        """
        held = self.networks[network]
        covers = tuple(dict.fromkeys((*held.covers, candidates)))
        return replace(self, networks=self.networks | {network: replace(held, covers=covers)})

    def sum_ms(self, keys: Iterable[LatencyKey]) -> float:
        """Milliseconds that all of ``keys`` take together. All must have entries."""
        return sum(self.entries[key].median_ms for key in keys)

    def has_footprints(self, chain: Chain) -> bool:
        """Whether it says all that is needed of a network beside its entries.

        A table without a ballast needs no footprints: its entries are measured as in the network.
        """
        network = self.networks.get(NetworkKey.of(chain))
        return self.conditions.ballast_mib is None or bool(network and network.footprints)

    def network(self, chain: Chain) -> NetworkLatency:
        """The original network's end-to-end latency and fixed part.

        Raises:
            TableError: it was not measured.
        """
        key = NetworkKey.of(chain)
        if key not in self.networks:
            raise TableError(f"latency table holds no network {key}; run `depthopt profile` for it")
        return self.networks[key]


def _joined(mine: NetworkLatency | None, theirs: NetworkLatency) -> NetworkLatency:
    """What two tables know of one network: the first's figures, unless only the second is whole."""
    if mine is None:
        return theirs
    covers = tuple(dict.fromkeys((*mine.covers, *theirs.covers)))
    return replace(theirs if theirs.footprints and not mine.footprints else mine, covers=covers)
