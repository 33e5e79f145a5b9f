"""``python -m depthopt``."""

from depthopt.cli import main

main()
