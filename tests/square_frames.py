"""A small data set to learn from: coloured squares of three sizes on a dark ground, in VisDrone's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tercelet.runtime.vision import write_image

SIDE = 96
_COLORS = ((40, 220, 220), (220, 60, 60))  # BGR: pedestrians yellow, people blue


def write_squares(folder: Path, count: int, *, seed: int = 0, side: int = SIDE) -> Path:
    """`count` frames of side x side pixels, one to four squares of two categories in each."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        picture = generator.integers(20, 60, (side, side, 3), dtype=np.uint8)
        lines = []
        for _ in range(int(generator.integers(1, 5))):
            category, length = int(generator.integers(0, 2)), int(generator.integers(14, 34))
            x, y = generator.integers(0, side - length, 2)
            picture[y : y + length, x : x + length] = _COLORS[category]
            lines.append(f"{x},{y},{length},{length},1,{category + 1},0,0")
        write_image(folder / "images" / f"{number:03}.png", picture)
        (folder / "annotations" / f"{number:03}.txt").write_text("\n".join(lines) + "\n")
    return folder


CLASSES = {"yellow": ["pedestrian"], "blue": ["people"]}
