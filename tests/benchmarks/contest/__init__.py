"""The parts of ``head_to_head.py``: networks, methods, picking by measured latency, the race."""
