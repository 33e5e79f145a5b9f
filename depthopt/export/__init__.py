"""Networks written to files that other programs, and other processes, can load."""
