"""The command line: ``depthopt run RECIPE`` and one command per stage."""

from depthopt.cli.main import main

__all__ = ["main"]
