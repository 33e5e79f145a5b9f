"""A recipe's stages in order, in a folder that remembers which of them are done."""
