"""Measured latencies and importances, keyed by what runs and by candidate."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from depthopt.core.candidate import Candidate, LatencyKey, latency_keys
from depthopt.core.chain import Chain
from depthopt.errors import TableError


@dataclass(frozen=True, slots=True)
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

    median_ms: float
    q1_ms: float
    q3_ms: float
    count: int
    settled: bool | None = None

    def scaled(self, factor: float) -> "LatencySummary":
        """The same measurements on a machine that takes ``factor`` times as long."""
        return replace(
            self,
            median_ms=self.median_ms * factor,
            q1_ms=self.q1_ms * factor,
            q3_ms=self.q3_ms * factor,
        )


@dataclass(frozen=True, slots=True)
class MeasurementConditions:
    """What a latency was measured on and how. Unlike conditions never mix.

    Attributes:
        device: the processor's or accelerator's name.
        runtime: ``onnxruntime``, ``openvino``, ``tensorrt``, ``torch``.
        runtime_version: its version.
        threads: intra-operator threads; 0 where the notion does not apply.
        dtype: ``float32``, ``float16``, ``int8``.
        batch: images per inference.
        date: ISO date of the first entry; not compared.
        clock_mhz: clock where readable; not compared.
    """

    device: str
    runtime: str
    runtime_version: str
    threads: int
    dtype: str
    batch: int
    date: str = ""
    clock_mhz: float | None = None

    def unlike(self, other: "MeasurementConditions") -> str | None:
        """The differences that forbid a comparison, for a message; None if alike."""
        mine, theirs = asdict(self), asdict(other)
        differences = [
            f"{name} {mine[name]!r} against {theirs[name]!r}"
            for name in mine
            if name not in {"date", "clock_mhz"} and mine[name] != theirs[name]
        ]
        return ", ".join(differences) or None


@dataclass(frozen=True, slots=True)
class NetworkLatency:
    """An original network as a whole.

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
    """

    total: LatencySummary
    fixed_ms: float
    blocks_share: float | None = None
    covers: tuple[str, ...] = ()

    def scaled(self, factor: float) -> "NetworkLatency":
        """The same network on a machine that takes ``factor`` times as long."""
        return replace(self, total=self.total.scaled(factor), fixed_ms=self.fixed_ms * factor)


@dataclass(frozen=True, slots=True)
class PlanTiming:
    """One plan, as a table predicts it and as its real merged network was timed.

    Speed-ups are over the original, which was timed in turn with the plan's network:
    absolute times drift from process to process.

    Attributes:
        predicted_ms: the plan's entries and the fixed part, summed up.
        predicted_speedup: the original's end-to-end latency in the table over that.
        measured_speedup: median of the originals' times over the plan's.
        replaced: keys of the plan's candidates, less the blocks that it keeps.
    """

    predicted_ms: float
    predicted_speedup: float
    measured_speedup: float
    replaced: tuple[str, ...]

    @property
    def error(self) -> float:
        """By what fraction the predicted speed-up is above the measured one."""
        return self.predicted_speedup / self.measured_speedup - 1


@dataclass(frozen=True, slots=True)
class Validation:
    """Random plans that a table's predictions were checked on.

    Attributes:
        network: ``network_key`` of the original.
        conditions: what it was measured on and how.
        seed: of the drawing.
        blocks_share: the original's own sum: see ``NetworkLatency``.
        timings: one per plan.
    """

    network: str
    conditions: MeasurementConditions
    seed: int
    blocks_share: float | None
    timings: tuple[PlanTiming, ...]

    @property
    def median_error(self) -> float:
        """Median of the predictions' absolute errors, as a fraction."""
        return statistics.median(abs(timing.error) for timing in self.timings)


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Latency of everything that may run on one device under one set of conditions.

    Attributes:
        conditions: what the entries were measured on and how.
        entries: summaries by ``str(LatencyKey)``.
        networks: original networks by ``network_key(chain)``.
    """

    conditions: MeasurementConditions
    entries: dict[str, LatencySummary] = field(default_factory=dict)
    networks: dict[str, NetworkLatency] = field(default_factory=dict)

    def missing(self, keys: Iterable[LatencyKey]) -> tuple[LatencyKey, ...]:
        """The keys without an entry, each once, in order."""
        return tuple(dict.fromkeys(key for key in keys if str(key) not in self.entries))

    def with_entries(self, entries: dict[str, LatencySummary]) -> "LatencyTable":
        """This table with ``entries`` added; on equal keys the new ones hold."""
        return replace(self, entries=self.entries | entries)

    def merged(self, other: "LatencyTable") -> "LatencyTable":
        """Both tables' entries; on equal keys ``other``'s hold.

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
        """This table with what ``other`` holds beyond it, brought to this one's scale.

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
            key: replace(mine, covers=tuple(dict.fromkeys((*mine.covers, *theirs.covers))))
            if (mine := self.networks.get(key))
            else theirs.scaled(factor)
            for key, theirs in other.networks.items()
        }
        return self.merged(LatencyTable(other.conditions, entries, networks))

    def covering(self, network: str, candidates: str) -> "LatencyTable":
        """This table, saying that it has all entries of these candidates of a network.

        Args:
            network: its ``network_key``.
            candidates: the set of candidates in words.
        """
        held = self.networks[network]
        covers = tuple(dict.fromkeys((*held.covers, candidates)))
        return replace(self, networks=self.networks | {network: replace(held, covers=covers)})

    def candidate_ms(self, chain: Chain, candidate: Candidate) -> float:
        """Milliseconds that ``candidate`` costs, with the adds that it leaves in place.

        Raises:
            TableError: an entry is missing.
        """
        keys = latency_keys(chain, candidate)
        if gap := self.missing(keys):
            raise TableError(f"latency table has no entry for {gap[0]} ({candidate.key})")
        return sum(self.entries[str(key)].median_ms for key in keys)

    def network(self, chain: Chain) -> NetworkLatency:
        """The original network's end-to-end latency and fixed part.

        Raises:
            TableError: it was not measured.
        """
        key = network_key(chain)
        if key not in self.networks:
            raise TableError(f"latency table holds no network {key}; run `depthopt profile` for it")
        return self.networks[key]


def network_key(chain: Chain) -> str:
    """The name under which a latency table holds the original network of ``chain``."""
    return f"{chain.model} @{'x'.join(map(str, chain.input_size))}"


@dataclass(frozen=True, slots=True)
class Importance:
    """What one candidate alone costs on held-out calibration images.

    Attributes:
        cost: the number that the solver adds up and minimises; of ``fit`` the divergence and,
            with labels, three times what the loss rises by, in nats.
        divergence: mean KL divergence of the outputs from the original's, in nats;
            None where the estimator does not measure it.
        loss_increase: change of the mean cross-entropy, in nats; None without labels.
        accuracy_change: change of top-1 accuracy, in points of 100; None without labels.
    """

    cost: float
    divergence: float | None = None
    loss_increase: float | None = None
    accuracy_change: float | None = None


@dataclass(frozen=True, slots=True)
class ImportanceTable:
    """Cost in accuracy of every candidate, keyed by ``Candidate.key``.

    Attributes:
        model: the chain's model name.
        estimator: ``fit``, ``magnitude``, ``finetune``.
        images: held-out images that the scores were measured on; 0 if none.
        entries: importances by ``Candidate.key``; ``keep`` costs nothing and has none.
    """

    model: str
    estimator: str
    images: int = 0
    entries: dict[str, Importance] = field(default_factory=dict)

    def cost(self, candidate: Candidate) -> float:
        """The candidate's cost; 0 for ``keep``.

        Raises:
            TableError: the entry is missing.
        """
        if candidate.kind == "keep":
            return 0.0
        if candidate.key not in self.entries:
            raise TableError(f"importance table has no entry for {candidate.key}")
        return self.entries[candidate.key].cost
