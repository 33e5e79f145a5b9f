"""The data that stages pass to one another: frozen values, no torch."""
