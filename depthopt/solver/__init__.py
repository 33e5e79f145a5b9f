"""The exact two-stage dynamic programme on arrays."""
