"""Whether a network became slower, larger or less accurate: a check to gate changes with."""
