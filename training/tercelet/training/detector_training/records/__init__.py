"""What a training leaves behind for people: a row an epoch, curves, pictures, and the card of the model."""

from __future__ import annotations

from tercelet.training.detector_training.records.curves import CURVES_FILE, save_curves
from tercelet.training.detector_training.records.epoch_rows import (
    RESULTS_FILE,
    EpochRow,
    ResultsFile,
    read_results,
)
from tercelet.training.detector_training.records.model_card import (
    MODEL_CARD_FILE,
    DataFingerprint,
    ModelCard,
    hardware_words,
    library_versions,
    model_card,
)
from tercelet.training.detector_training.records.pictures import (
    PREDICTIONS_FILE,
    SAMPLES_FILE,
    PredictedView,
    save_predictions,
    save_samples,
)
from tercelet.training.detector_training.records.tensorboard_log import TensorBoardLog
from tercelet.training.detector_training.records.whole_file import write_whole

__all__ = [
    "CURVES_FILE",
    "MODEL_CARD_FILE",
    "PREDICTIONS_FILE",
    "RESULTS_FILE",
    "SAMPLES_FILE",
    "DataFingerprint",
    "EpochRow",
    "ModelCard",
    "PredictedView",
    "ResultsFile",
    "TensorBoardLog",
    "hardware_words",
    "library_versions",
    "model_card",
    "read_results",
    "save_curves",
    "save_predictions",
    "save_samples",
    "write_whole",
]
