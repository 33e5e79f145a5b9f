"""TensorRT, and TensorRT for RTX, on an NVIDIA GPU, and engines built for one elsewhere.

``library`` says which libraries there are, and ``bindings`` what is used of them: each is a value,
imported once it is needed. ``runtime`` runs networks on the GPU that is here; ``ahead`` builds
engines for GPUs that need not be.
"""
