"""Tasks of networks: how to compare answers with the original's and with the right ones."""
