"""All networks of strangers: importing this registers them."""

from tests.strangers import attention, branches, operators, residual, styles, writes
from tests.strangers.registry import NETWORKS

__all__ = ["NETWORKS", "attention", "branches", "operators", "residual", "styles", "writes"]
