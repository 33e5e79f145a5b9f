"""The mathematics of rewriting: folding, composing, regressing."""
