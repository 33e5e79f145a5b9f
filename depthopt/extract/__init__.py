"""A model as a chain of blocks, and what its segments may become."""

from depthopt.extract.candidates import candidates
from depthopt.extract.coverage import reducible_share
from depthopt.extract.extract import chain_of, extract

__all__ = ["candidates", "chain_of", "extract", "reducible_share"]
