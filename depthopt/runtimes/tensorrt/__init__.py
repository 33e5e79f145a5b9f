"""TensorRT on an NVIDIA GPU.

``runtime`` is the runtime itself; ``engine`` and ``session`` alone (and ``log``, ``profiler``)
import the library, and only once a GPU was found. All else is free of it, so that it can be
tested anywhere.
"""
