"""Where networks come from, and how their weights are read and written."""
