"""Measure groups of entries in turn with the network that they belong to.

The network is the speedometer: an entry's samples are divided by the network's time in
the same round, so that a machine that slows down for a while slows both.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depthopt.errors import ModelError
from depthopt.latency.graphs.entry import EntryGraphs, ballast_graph, call_graph, entry_graphs
from depthopt.latency.measure import Clock, Effort, ready, relative_error, sample_in_turn
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import LatencyKey

TOLERANCE = 0.02
"""Entries are measured until their medians are known to within plus or minus this."""

MAX_FOOTPRINT = 48 << 20
"""Bytes that displace everything in a processor's caches. More need not be read."""

MIN_BALLAST = 2 << 20
"""Bytes that displace everything in a core's own cache."""

WARMING = 6
"""Passes over a given footprint before each sample. Four or five fill a shared cache with it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a device does in a microsecond, roughly. It is only used to size graphs.

    Attributes:
        macs: multiply-accumulates of a convolution.
        depthwise_macs: the same of a depthwise one.
        values: numbers written.
        weight_bytes: bytes of weights read.
    """

    macs: float
    depthwise_macs: float
    values: float
    weight_bytes: float


PROCESSOR = Pace(macs=2e4, depthwise_macs=5e3, values=4e3, weight_bytes=2e4)
"""One thread of a server's processor."""

ACCELERATOR = Pace(macs=1e7, depthwise_macs=1e6, values=4e5, weight_bytes=1e6)
"""A data centre's GPU, by its data sheet: nobody has measured it here."""

_BALLASTS = 8
"""Sizes of ballast, so that keys share them."""

_KEPT_BYTES = 4 << 20
"""Of a graph that is kept from one sweep to the next. Small ones have the most nodes, and are the
longest in the making."""

_GRAPH_US = 1000.0
_MIN_COPIES, _MAX_COPIES = 2, 96
_MIN_ROUNDS, _MAX_ROUNDS = 9, 200
_NETWORK, _CALL = "network", "call"


@dataclass(frozen=True, slots=True)
class Group:
    """The measurements of one group of entries.

    Attributes:
        ratios: per entry and round, its time over the network's.
        network_ms: the network's time, per round.
        call_ms: the time of a call that does next to nothing, per round.
        failed: entries that the runtime cannot run, with its reason.
    """

    ratios: dict[LatencyKey, NDArray[np.float64]]
    network_ms: NDArray[np.float64]
    call_ms: NDArray[np.float64]
    failed: dict[LatencyKey, str]

    def with_more(self, other: "Group") -> "Group":
        """Join the samples of a later measurement of the same entries."""
        return Group(
            {
                key: np.concatenate([ratios, other.ratios[key]])
                for key, ratios in self.ratios.items()
                if key in other.ratios
            },
            np.concatenate([self.network_ms, other.network_ms]),
            np.concatenate([self.call_ms, other.call_ms]),
            self.failed | other.failed,
        )


class Bench:
    """Measures entries beside one network, on one runtime.

    Args:
        runtime: what runs them.
        network: the network as an ONNX file or its bytes.
        batch: images per inference.
        entry_seconds: cap on the time per entry.
        ballast_mib: what entries and the data read before them make up together, in MiB; the
            network's own size if None. Where it is given, caches are warmed by ``WARMING`` passes.
        clock: what times are read from.
    """

    def __init__(
        self,
        runtime: Runtime,
        network: bytes | Path,
        *,
        batch: int,
        entry_seconds: float,
        ballast_mib: float | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.runtime = runtime
        self.batch = batch
        self.pace = ACCELERATOR if runtime.is_accelerated else PROCESSOR
        self.entry_seconds = entry_seconds
        self.clock = clock
        most = MAX_FOOTPRINT if ballast_mib is None else int(ballast_mib * 2**20)
        self.footprint_bytes = max(MIN_BALLAST, min(_size_bytes(network), most))
        self.warming = 0 if ballast_mib is None else WARMING
        self._fixed: dict[str, Callable[[], object]] = {
            _NETWORK: ready(runtime, network, batch),
            _CALL: self._call(call_graph(batch)),
        }
        self._ballast = np.ones((1, self.footprint_bytes // 4), dtype=np.float32)
        self._ballasts: dict[int, Callable[[], object]] = {}
        self._kept: dict[LatencyKey, tuple[EntryGraphs, int]] = {}

    def measure(self, keys: Sequence[LatencyKey], *, sweeps: int = 1) -> Group:
        """Measure ``keys`` in turn with the network and with one another.

        Args:
            keys: a group of entries; their graphs are in memory together.
            sweeps: how often the group will be measured; each takes its share of the time.
        """
        calls = dict(self._fixed)
        before: dict[str, Callable[[], object]] = {}
        copies: dict[LatencyKey, int] = {}
        failed: dict[LatencyKey, str] = {}
        for key in keys:
            try:
                full, base, copies[key] = self._calls(key, sweeps)
                full()
                base()
            except ModelError as error:
                copies.pop(key, None)
                failed[key] = str(error)
                continue
            calls |= {f"full {key}": full, f"base {key}": base}
            own_bytes = copies[key] * weight_bytes(key)
            before |= {f"full {key}": self._after(own_bytes), f"base {key}": self._after(0)}

        def ratios(samples: Mapping[str, Sequence[float]]) -> dict[LatencyKey, NDArray[np.float64]]:
            network = np.asarray(samples[_NETWORK])
            return {
                key: np.subtract(samples[f"full {key}"], samples[f"base {key}"]) / count / network
                for key, count in copies.items()
            }

        def settled(samples: Mapping[str, Sequence[float]]) -> bool:
            return all(
                relative_error(r.tolist()) <= effort.tolerance for r in ratios(samples).values()
            )

        effort = Effort(
            seconds=self.entry_seconds * max(1, len(keys)) / sweeps,
            tolerance=TOLERANCE,
            min_rounds=-(-_MIN_ROUNDS // sweeps),
            max_rounds=_MAX_ROUNDS // sweeps,
            warmup_s=0.1,
            burst_ms=3.0,
            warming=self.warming,
        )
        samples = sample_in_turn(
            calls, effort=effort, before=before, settled=settled, clock=self.clock
        )
        network_ms, call_ms = (np.asarray(samples[name]) for name in (_NETWORK, _CALL))
        return Group(ratios(samples), network_ms, call_ms, failed)

    def _calls(
        self, key: LatencyKey, sweeps: int
    ) -> tuple[Callable[[], object], Callable[[], object], int]:
        """The entry's full graph and its base, ready to run, and the number of copies."""
        graphs = self._graphs(key, sweeps)
        return self._call(graphs.full), self._call(graphs.base), graphs.copies

    def _graphs(self, key: LatencyKey, sweeps: int) -> EntryGraphs:
        """The entry's graphs, kept until the last of its sweeps if they are small."""
        graphs, left = self._kept.pop(key, (None, sweeps))
        if graphs is None:
            graphs = entry_graphs(key, copies=self._copies(key), batch=self.batch)
        if left > 1 and len(graphs.full) <= _KEPT_BYTES:
            self._kept[key] = graphs, left - 1
        return graphs

    def _copies(self, key: LatencyKey) -> int:
        if self.runtime.merges_siblings:
            return 1  # nobody has measured yet what that does to additivity
        return copies_of(key, self.batch, self.footprint_bytes, self.pace)

    def _after(self, own_bytes: int) -> Callable[[], object]:
        """Reads what the network reads besides ``own_bytes``."""
        size = ballast_bytes(own_bytes, self.footprint_bytes)
        if size not in self._ballasts:
            session = self.runtime.compile(ballast_graph(size))
            inputs = {"ballast": self._ballast[:, : size // 4]}
            self._ballasts[size] = partial(session.run, inputs)
        return self._ballasts[size]

    def _call(self, model: bytes) -> Callable[[], object]:
        session = self.runtime.compile(model)
        inputs = {
            name: np.ones([n or self.batch for n in shape], dtype=np.float32)
            for name, shape in session.input_shapes.items()
        }
        return partial(session.run, inputs)


def copies_of(key: LatencyKey, batch: int, footprint_bytes: int, pace: Pace = PROCESSOR) -> int:
    """How many copies make a graph of about a millisecond, and no more bytes than a network."""
    operator = key.operator
    values = batch * operator.out_channels * math.prod(operator.output_size(key.input_size))
    macs = batch * operator.macs(key.input_size)
    rate = pace.depthwise_macs if operator.is_depthwise else pace.macs
    estimate_us = 1 + macs / rate + values / pace.values + weight_bytes(key) / pace.weight_bytes
    most = min(_MAX_COPIES, footprint_bytes // max(1, weight_bytes(key)))
    return max(_MIN_COPIES, min(math.ceil(_GRAPH_US / estimate_us), most))


def ballast_bytes(own_bytes: int, footprint_bytes: int) -> int:
    """What must be read beside ``own_bytes`` to make up a network's, rounded up to an eighth."""
    share = max(0.0, 1 - own_bytes / footprint_bytes)
    return max(MIN_BALLAST, footprint_bytes * math.ceil(share * _BALLASTS) // _BALLASTS)


def weight_bytes(key: LatencyKey) -> int:
    """Bytes of one copy's weights."""
    return 4 * key.operator.parameters


def _size_bytes(network: bytes | Path) -> int:
    """Bytes of the model, with the file of weights that may lie beside it."""
    if isinstance(network, bytes):
        return len(network)
    parts = (network, network.with_name(network.name + ".data"))
    return sum(part.stat().st_size for part in parts if part.exists())
