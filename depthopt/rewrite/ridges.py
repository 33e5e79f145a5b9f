"""Strengths of regularisation that regressions try on held-out images."""

FIT_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of a new convolution, drawn to 0; relative to the mean variance of its inputs."""

COMPENSATION_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of a kept convolution, held to what it was; relative to the mean variance of its inputs."""

CLASSIFIER_RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3)
"""Of the classifier, held to what it was; relative to the mean square of its inputs. Strongest
first."""
