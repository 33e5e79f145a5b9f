"""A network as it was measured earlier: a recorded baseline, or one of a latency table.

A latency table holds entries over a network's time, as a recorded baseline does, once
they are brought back from the network's scale (``depthopt.latency.profile``).
"""

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from depthopt.check.check import Network
from depthopt.core import numbers
from depthopt.core.artefacts import load_json
from depthopt.core.clipped import one_line
from depthopt.core.inputs import InputSize, InputSpec
from depthopt.core.operators import Convolution
from depthopt.core.reading import read_json
from depthopt.errors import ArtefactError, TableError
from depthopt.tables.latency import LatencyKey, LatencySummary, LatencyTable, MeasurementConditions

_FROM_TABLE = 12
_FAST_MS, _SLOW_MS = 0.05, 3.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """A network as it was measured, to be checked against later.

    Attributes:
        network: its name and hash.
        conditions: what it was measured on and how.
        latency: in processor time where that is read (``clocks_for``), else by the clock.
        yardsticks: an entry's time over the network's, per round; of
            a latency table, its median alone.
        input_shapes: by name; None where the batch is free.
        size_bytes: of the file.
        parameters: numbers that it holds; None for an engine.
        peak_memory_bytes: None where it could not be read.
        metric: the task's; None without a data set.
        data: the data set's name; empty without one.
        task: what the metric is of; empty without a data set.
    """

    network: Network
    conditions: MeasurementConditions
    latency: LatencySummary
    yardsticks: dict[LatencyKey, Annotated[tuple[numbers.Positive, ...], MinLen(1)]]
    input_shapes: dict[str, tuple[numbers.Count | None, ...]]
    size_bytes: numbers.Bytes | None = None
    parameters: numbers.Parameters | None = None
    peak_memory_bytes: numbers.Bytes | None = None
    metric: numbers.Finite | None = None
    data: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        """Check that it can be compared with.

        Raises:
            ValueError: it has no yardstick, or not the same number of rounds of each.
        """
        if len({len(rounds) for rounds in self.yardsticks.values()}) != 1:
            raise ValueError("yardsticks: expected one or more, with as many rounds each")


def read_baseline(path: Path, network: str | None = None) -> Baseline:
    """Read a recorded baseline, or take a network of a latency table as one.

    Raises:
        ArtefactError: the file is neither, damaged, or of a newer schema.
        TableError: the table does not hold the network, or nothing to measure it by.
    """
    try:
        kind = read_json(path)["type"]
    except FileNotFoundError:
        raise ArtefactError(
            f"{path} does not exist; if you still have the earlier network, record it: "
            f"`depthopt check --record {shlex.quote(str(path))} MODEL`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{path} is neither a baseline nor a latency table ({one_line(error)})"
        ) from None
    if kind != LatencyTable.__name__:
        return load_json(Baseline, path)
    return _of_table(path, load_json(LatencyTable, path), network)


def _of_table(path: Path, table: LatencyTable, name: str | None) -> Baseline:
    networks = {str(key): key for key in table.networks}
    known = ", ".join(sorted(networks)) or "none"
    if name is None and len(networks) == 1:
        (name,) = networks
    if name is None or name not in networks:
        what = "several networks" if name is None else f"no {name}"
        raise TableError(f"{path} holds {what}; choose one with --network: {known}")
    found = table.networks[networks[name]]
    if found.blocks_share is None:
        raise TableError(f"{path} does not say what share of {name} its blocks took; profile it")
    # Entries were brought to a scale on which the network's blocks add up to it.
    blocks_ms = found.total.median_ms / found.factor(found.parameters or 0) - found.fixed_ms
    if found.blocks_share <= 0 or blocks_ms <= 0:
        raise TableError(f"{path} says that the blocks of {name} took no time; profile it again")
    level_ms = blocks_ms / found.blocks_share
    settled = {
        key: entry.median_ms
        for key, entry in table.entries.items()
        if entry.settled
        and isinstance(key.operator, Convolution)
        and _FAST_MS < entry.median_ms < _SLOW_MS
    }
    if not settled:
        raise TableError(f"{path} has no settled entry between {_FAST_MS} and {_SLOW_MS} ms")
    ordered = sorted(settled, key=str)
    chosen = ordered[:: max(1, len(ordered) // _FROM_TABLE)][:_FROM_TABLE]
    shares: dict[LatencyKey, tuple[float, ...]] = {
        key: (settled[key] / level_ms,) for key in chosen
    }
    return Baseline(
        network=Network(f"{path}: {name}", _sha256(path, name)),
        conditions=table.conditions,
        latency=found.total,
        yardsticks=shares,
        input_shapes=_input_shapes(networks[name].input_size),
    )


def _input_shapes(size: InputSize) -> dict[str, tuple[int | None, ...]]:
    """Input shapes by name, with a free batch. A single image may have any name."""
    if isinstance(size, InputSpec):
        return {each.name: (None, *each.shape) for each in size.inputs}
    return {"image": (None, *size)}


def _sha256(table: Path, network: str) -> str:
    """A digest of a table and a network's name. A history tells baselines apart by it."""
    return hashlib.sha256(table.read_bytes() + network.encode()).hexdigest()
