"""The values that stages pass to one another: frozen, without torch."""
