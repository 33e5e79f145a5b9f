"""Show runs as pages, plots and figures."""
