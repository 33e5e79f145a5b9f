"""Carry out a plan: build, regress, fuse."""
