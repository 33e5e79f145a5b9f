"""The algebra of rewriting: folding, composing, regressing."""
