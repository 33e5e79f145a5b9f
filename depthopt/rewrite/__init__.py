"""Rewriting a network: folding, merging, regressing, carrying out plans."""

from depthopt.rewrite.apply import apply
from depthopt.rewrite.build import build
from depthopt.rewrite.classifier import regress_classifier
from depthopt.rewrite.ends import segment_ends
from depthopt.rewrite.merge import merge

__all__ = ["apply", "build", "merge", "regress_classifier", "segment_ends"]
