"""The kinds of candidates: what may replace a segment, and what then runs."""
