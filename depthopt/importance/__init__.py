"""Estimate what each candidate costs in accuracy."""
