"""Write networks to files that other programs and processes can load."""
