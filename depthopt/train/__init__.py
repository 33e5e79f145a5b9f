"""Data sets, evaluation and training, with or without a teacher."""
