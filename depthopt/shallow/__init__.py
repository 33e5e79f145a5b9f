"""A plan carried out: built, regressed, fused."""
