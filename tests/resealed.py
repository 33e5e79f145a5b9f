"""Files changed by a test as if they had been written so, with the digest that they then have."""

import json
from pathlib import Path
from typing import Any

from depthopt.core import digests


def write_resealed(path: Path, content: dict[str, Any]) -> None:
    """Write an artefact's content with its digest."""
    told = {key: value for key, value in content.items() if key != digests.KEY}
    path.write_text(json.dumps(told | {digests.KEY: digests.of_json(told)}))


def reseal(path: Path) -> None:
    """Give a file that was changed the digest of what it holds now."""
    write_resealed(path, json.loads(path.read_text()))
