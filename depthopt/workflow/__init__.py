"""Compress in one call: from a network and data, as a user names them, to a faster network."""
