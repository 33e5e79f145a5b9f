"""Find every good plan from tables."""
