"""Pictures and clips made on the spot, with the frame's number drawn into each frame."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import numbered_frame

from tercelet.runtime import vision

_CODECS = {".mp4": "mp4v", ".mkv": "VP80", ".avi": "MJPG"}

WriteClip = Callable[..., Path]


@pytest.fixture(scope="session")
def write_clip() -> WriteClip:
    """write(path, frames=N, height=, width=, fps=): a clip of numbered frames; skips without the codec."""

    def write(path: Path, *, frames: int, height: int = 96, width: int = 144, fps: float = 25.0) -> Path:
        code = cv2.VideoWriter_fourcc(*_CODECS[path.suffix])
        writer = cv2.VideoWriter(str(path), code, fps, (width, height))
        if not writer.isOpened():
            pytest.skip(f"this OpenCV cannot write {_CODECS[path.suffix]}")
        for number in range(frames):
            writer.write(numbered_frame(number, height=height, width=width))
        writer.release()
        return path

    return write


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """write(path, height=, width=, seed=): a picture of smooth coloured noise in the suffix's format."""

    def write(path: Path, *, height: int = 48, width: int = 64, seed: int = 0) -> Path:
        noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
        image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        if path.suffix == ".npy":
            np.save(path, image)
        else:
            path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
        return path

    return write


@pytest.fixture
def pictures(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """A folder with 1.png, 2.png and 10.png of 64x48."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 10):
        write_picture(folder / f"{number}.png", seed=number)
    return folder


@pytest.fixture
def without_opencv(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment in which `import cv2` fails."""
    vision._opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    yield
    vision._opencv.cache_clear()
