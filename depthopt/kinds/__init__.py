"""What segments may become, and what that runs."""
