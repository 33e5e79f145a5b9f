"""The libraries that run networks, behind one small interface."""
