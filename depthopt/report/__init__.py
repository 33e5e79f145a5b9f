"""Runs as pages, plots and figures."""
