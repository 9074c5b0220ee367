"""What is wrong with a data set, found before a training spends hours on it."""

from __future__ import annotations

from tercelet.training.dataset_checks.checking import check_dataset
from tercelet.training.dataset_checks.report import KINDS, DatasetReport, Problem

__all__ = ["KINDS", "DatasetReport", "Problem", "check_dataset"]
