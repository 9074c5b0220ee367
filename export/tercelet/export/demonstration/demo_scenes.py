"""What the demo looks at: scenes with their ground truth, and a flight over a larger one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.evaluation.synthetic import DEFAULT, SyntheticResult, aerial_scene, synth_aerial
from tercelet.export.demonstration.demo_folder import SCENES
from tercelet.runtime import vision

# Trainings take lower ones.
FIRST_SEED = 40_000
FLIGHT_SEED = 41_003
_SCENES, _QUICK_SCENES = 6, 3
_FLIGHT_FRAMES, _QUICK_FLIGHT_FRAMES = 40, 12
_GROUND = (1440, 2560)
_WINDOW = (720, 1280)
_FRAMES_PER_SECOND = 10.0
# By day, and with enough clusters that none of the windows is empty.
_FLIGHT_SETTINGS = replace(DEFAULT, clusters=(8, 10), night=0.0, blur=0.0)


@dataclass(frozen=True)
class DemoScenes:
    """truth: the scenes, a data set in VisDrone's and COCO's form. pictures: their files. flight: a video of
    so many frames of (height, width) flight_size, without ground truth."""

    truth: SyntheticResult
    pictures: tuple[Path, ...]
    flight: Path
    flight_frames: int
    flight_size: tuple[int, int]


def make_scenes(output: Path, *, quick: bool) -> DemoScenes:
    """Draw all of it below `output`; InputError where that cannot be written."""
    count, frames = (_QUICK_SCENES, _QUICK_FLIGHT_FRAMES) if quick else (_SCENES, _FLIGHT_FRAMES)
    # Named by their number: the folder of another request is not written over.
    truth = synth_aerial(output / f"{SCENES}-{count}", count=count, seed=FIRST_SEED, quiet=True)
    pictures = tuple(sorted((truth.output / "images").iterdir()))
    if len(pictures) != count:
        raise InputError(
            f"{truth.output}: expected {count} pictures, got {len(pictures)}; delete the folder, or choose "
            "another --output"
        )
    flight = output / "flight.mp4"
    write_flight(flight, frames=frames)
    return DemoScenes(truth, pictures, flight, frames, _WINDOW)


def write_flight(path: Path, *, frames: int) -> None:
    """A camera that glides over one scene from corner to corner; an older file is replaced."""
    height, width = _GROUND
    ground = aerial_scene(FLIGHT_SEED, height=height, width=width, settings=_FLIGHT_SETTINGS).frame
    height, width = _WINDOW
    room = _GROUND[0] - height, _GROUND[1] - width
    with vision.VideoWriter(path, height=height, width=width, fps=_FRAMES_PER_SECOND) as video:
        for number in range(frames):
            share = number / max(frames - 1, 1)
            # Down and back to the middle on the way across.
            top = round(room[0] * math.sin(0.75 * math.pi * share))
            left = round(room[1] * share)
            video.write(ground[top : top + height, left : left + width])
