"""Evaluation and training, with or without a teacher."""
