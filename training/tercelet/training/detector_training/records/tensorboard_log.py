"""The same numbers for TensorBoard, for those who ask for it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from tercelet.contract.errors import MissingDependencyError
from tercelet.training.detector_training.records.epoch_rows import EpochRow


class TensorBoardLog:
    """An event file in a folder that `tensorboard --logdir FOLDER` shows; a context manager."""

    def __init__(self, folder: str | Path) -> None:
        """Raises MissingDependencyError where tensorboard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                f"a log for TensorBoard needs the package tensorboard ({error}): pip install tensorboard, "
                "or train without it: results.csv holds the same numbers"
            ) from error
        self._writer: Any = SummaryWriter(log_dir=str(folder))

    def add(self, row: EpochRow) -> None:
        """Add an epoch and hand it to the file system, so that it shows at once."""
        figures: dict[str, float | None] = {
            **{f"loss/{name}": value for name, value in row.losses.items()},
            "loss/all": row.loss,
            "validation/AP50": row.ap50,
            "validation/AP": row.ap,
            "training/lr": row.lr,
            "training/images_per_second": row.images_per_second,
            "training/data_wait": row.data_wait,
        }
        for name, value in figures.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
