"""Run a recipe's stages in order, in a folder that remembers which are done."""
