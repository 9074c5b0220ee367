"""Every family learns eight frames by heart, from weights drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from square_frames import CLASSES, write_squares

from tercelet.runtime.vision import write_image
from tercelet.training import train_density, train_detector
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.samples import Augmentation

FRAMES = 8
# A MultiSEAM head takes nothing smaller than 224 px, so it is given larger frames.
SIZES = {"yolo11n-multiseam": 224, "yolo11n-seam": 224}
SIZE = 128
# 400 steps: running variances begin at 1 and keep 0.97 of it a step; what is left must be small beside the
# 0.001 that the first layer sees of dark frames.
EPOCHS, TIMES_AN_EPOCH = 20, 20


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "detector",
    ["yolov5n", "yolov5n-akconv", "yolov8n", "yolo11n", "yolo11n-seam", "yolo11n-multiseam"],
)
def test_a_detector_learns_eight_frames_by_heart(tmp_path: Path, detector: str) -> None:
    data = write_squares(tmp_path / "squares", FRAMES, side=128)
    size = SIZES.get(detector, SIZE)
    recipe = Recipe(
        epochs=EPOCHS,
        batch=FRAMES,
        nominal_batch=FRAMES,
        height=size,
        width=size,
        optimizer="adamw",
        lr=4e-3,
        schedule="cosine",
        warmup_epochs=0.5,
        close_mosaic=0,
        ema_decay=0.98,
        ema_ramp=30,
        validate_every=5,
    )
    trained = train_detector(
        detector,
        data=[data] * TIMES_AN_EPOCH,
        val=data,
        output=tmp_path / "out",
        class_map=CLASSES,
        recipe=recipe,
        augmentation=Augmentation(mosaic=0, hsv=(0, 0, 0), translate=0, scale=0),
        workers=0,
        cache="ram",
    )
    assert trained.ap50 >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mcnn_counts_eight_frames_that_it_has_seen_within_five_percent(tmp_path: Path) -> None:
    data = _crowds(tmp_path / "crowds")
    trained = train_density(
        "mcnn",
        data=data,
        val=data,
        output=tmp_path / "out",
        epochs=150,
        size=128,
        batch=4,
        lr=1e-3,
        sigma=4.0,
    )
    assert trained.best.objects > 40
    assert trained.best.count_error <= 0.05 * trained.best.objects


def _crowds(folder: Path) -> Path:
    """Frames of 30 to 80 bright spots of 5 px, in VisDrone's format."""
    generator = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(FRAMES):
        picture = generator.integers(20, 60, (128, 128, 3), dtype=np.uint8)
        places = generator.permutation(15 * 15)[: int(generator.integers(30, 81))]
        lines = []
        for place in places:
            x, y = 4 + int(place) % 15 * 8, 4 + int(place) // 15 * 8
            picture[y : y + 5, x : x + 5] = 230
            lines.append(f"{x},{y},5,5,1,1,0,0")
        write_image(folder / "images" / f"{number}.png", picture)
        (folder / "annotations" / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return folder
