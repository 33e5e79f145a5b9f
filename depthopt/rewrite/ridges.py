"""Strengths of regularisation that regressions try on held-out images."""

FIT_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of a new convolution, drawn to 0; relative to the mean variance of its inputs."""

COMPENSATION_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of a kept convolution, held to what it was; relative to the mean variance of its inputs."""
