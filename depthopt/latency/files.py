"""Where latency tables lie: ``<device>/<runtime>-<version>-<dtype>-b<batch>.json``."""

import re
from pathlib import Path

from depthopt.core.artefacts import load_json
from depthopt.core.tables import LatencyTable, MeasurementConditions
from depthopt.errors import TableError


def table_path(root: Path, conditions: MeasurementConditions) -> Path:
    """The file under ``root`` for measurements under ``conditions``.

    A thread count other than 1 is part of the name too. Write it with
    ``artefacts.save_json``.
    """
    device = re.sub(r"[^a-z0-9]+", "-", conditions.device.lower()).strip("-") or "unknown"
    parts = [conditions.runtime, conditions.runtime_version, conditions.dtype]
    parts.append(f"b{conditions.batch}")
    if conditions.threads > 1:
        parts.append(f"t{conditions.threads}")
    return root / device / f"{'-'.join(parts)}.json"


def load_table(path: Path, conditions: MeasurementConditions) -> LatencyTable:
    """The table at ``path``, or an empty one if there is none yet.

    Raises:
        TableError: it was measured under other conditions; both are named.
        ArtefactError: the file is damaged or of a newer schema.
    """
    if not path.exists():
        return LatencyTable(conditions)
    table = load_json(LatencyTable, path)
    if difference := table.conditions.unlike(conditions):
        raise TableError(
            f"{path} was measured under other conditions: {difference}; "
            "name another file, or measure anew"
        )
    return table
