"""From tables to every good plan."""
