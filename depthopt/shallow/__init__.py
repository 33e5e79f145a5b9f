"""A plan carried out: built, regressed, merged."""
