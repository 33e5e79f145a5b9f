"""The libraries that run networks, each behind the same small interface."""
