"""How images are resized, by name."""

from typing import Literal

Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized."""
