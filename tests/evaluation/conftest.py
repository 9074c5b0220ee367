"""Data sets written to a temporary folder, and detections by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.detections import Detections
from tercelet.evaluation.datasets import Dataset, DatasetImage
from tercelet.evaluation.datasets.dataset import image_with_boxes
from tercelet.runtime.vision import write_image

Row = tuple[float, float, float, float]


@pytest.fixture(scope="session")
def make_detections() -> Callable[..., Detections]:
    """make_detections([(x1, y1, x2, y2, score, class_id), ...], labels) -> Detections, best first."""

    def make(rows: Sequence[Sequence[float]], labels: tuple[str, ...] = ("car", "bus")) -> Detections:
        table = np.array(rows, np.float64).reshape(-1, 6)
        table = table[np.argsort(-table[:, 4], kind="stable")]
        return Detections(
            boxes=table[:, :4].astype(np.float32),
            scores=table[:, 4].astype(np.float32),
            class_ids=table[:, 5].astype(np.int64),
            labels=labels,
        )

    return make


@pytest.fixture(scope="session")
def make_image() -> Callable[..., DatasetImage]:
    """make_image(id, boxes, class_ids, ignore=..., regions=...): a frame of 1000x1000 with ground truth."""

    def make(
        identity: int,
        boxes: Sequence[Row],
        class_ids: Sequence[int] | None = None,
        *,
        ignore: Sequence[bool] | None = None,
        regions: Sequence[Row] = (),
    ) -> DatasetImage:
        return image_with_boxes(
            identity,
            Path(f"{identity}.jpg"),
            (1000, 1000),
            boxes=np.array(boxes, np.float64).reshape(-1, 4),
            class_ids=np.array([0] * len(boxes) if class_ids is None else class_ids, np.int64),
            ignore=None if ignore is None else np.array(ignore, bool),
            ignored_regions=np.array(regions, np.float64).reshape(-1, 4),
        )

    return make


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    """make_dataset(images, protocol): a data set of the categories car and bus."""

    def make(
        images: Sequence[DatasetImage],
        protocol: str = "coco",
        categories: tuple[str, ...] = ("car", "bus"),
    ) -> Dataset:
        return Dataset(
            source=Path("made"),
            format="visdrone" if protocol == "visdrone" else "coco",
            protocol="visdrone" if protocol == "visdrone" else "coco",
            categories=categories,
            images=tuple(images),
        )

    return make


@pytest.fixture(scope="session")
def write_picture() -> Callable[..., Path]:
    """write_picture(path, width, height): a grey picture, parents made."""

    def write(path: Path, width: int = 64, height: int = 48) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((height, width, 3), 90, np.uint8))
        return path

    return write
