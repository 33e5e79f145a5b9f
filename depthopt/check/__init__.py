"""Check whether a network became slower, larger or less accurate, to gate changes in CI."""
