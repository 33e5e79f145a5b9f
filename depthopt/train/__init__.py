"""Data sets, evaluation and training, with or without a teacher."""

from depthopt.core.training import TrainResult
from depthopt.train.config import TrainConfig
from depthopt.train.data import load_dataset
from depthopt.train.dataset import Dataset
from depthopt.train.evaluate import Evaluation, evaluate
from depthopt.train.finetune import TrainingDiverged, finetune

__all__ = [
    "Dataset",
    "Evaluation",
    "TrainConfig",
    "TrainResult",
    "TrainingDiverged",
    "evaluate",
    "finetune",
    "load_dataset",
]
