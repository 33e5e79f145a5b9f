"""Where latency tables lie: ``<device>/<runtime>-<version>-<dtype>-b<batch>.json``."""

import re
from pathlib import Path

from depthopt.core.tables import MeasurementConditions


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
