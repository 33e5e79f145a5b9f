"""What each candidate costs in accuracy."""
