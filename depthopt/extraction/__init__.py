"""A model as a chain of blocks, and what its segments may become."""

from depthopt.extraction.candidates import candidates
from depthopt.extraction.coverage import reducible_share
from depthopt.extraction.extract import chain_of, extract

__all__ = ["candidates", "chain_of", "extract", "reducible_share"]
