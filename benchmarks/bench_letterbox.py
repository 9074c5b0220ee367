"""Sixteen crops of one frame into a batch of canvases: three ways, interleaved in one run.

tercelet    tercelet.contract.preprocess.fill_canvas with OpenCV's resize straight into one uint8 NHWC batch;
            cast, scale and transpose are in the graph.
numpy       the plain float way: bilinear resize in numpy, float32 NCHW in 0..1.
opencv      the usual way: cv2.resize, pad, transpose, float32 / 255, stack.

    python benchmarks/bench_letterbox.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import Letterbox, letterbox_for
from tercelet.contract.preprocess import Preprocess, fill_canvas
from tercelet.runtime import vision

Image = NDArray[np.uint8]
Batch = NDArray[Any]
CROPS = 16
SIZE = 640
FRAMES = {"1080p": (1080, 1920), "4K": (2160, 3840)}
# OpenCV rounds its 11-bit weights where numpy rounds once at the end.
LEVELS = 1


def crops_of(frame: Image, *, seed: int) -> list[Image]:
    """Sixteen windows of the frame, a tenth to a half of its height, each a view."""
    rng = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    crops = []
    for _ in range(CROPS):
        h, w = (rng.uniform(0.1, 0.5, 2) * height).astype(int)
        top, left = rng.integers(0, height - h), rng.integers(0, width - w)
        crops.append(frame[top : top + h, left : left + w])
    return crops


def frame_of(height: int, width: int) -> Image:
    """A frame with detail at several scales."""
    rng = np.random.default_rng(0)
    frame = np.zeros((height, width, 3), np.float32)
    for cells in (8, 64, 512):
        noise = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        frame += cv2.resize(noise, (width, height)) / 3
    return frame.astype(np.uint8)


def place_of(crop: Image) -> Letterbox:
    """Where the crop lies on its canvas."""
    return letterbox_for(*crop.shape[:2], height=SIZE, width=SIZE)


def way_tercelet() -> Callable[[list[Image]], Batch]:
    """Into one uint8 (16, 640, 640, 3) batch that is allocated once."""
    batch = np.empty((CROPS, SIZE, SIZE, 3), np.uint8)
    preprocess = Preprocess(height=SIZE, width=SIZE)

    def fill(crops: list[Image]) -> Batch:
        for canvas, crop in zip(batch, crops, strict=True):
            fill_canvas(canvas, crop, preprocess, resize_into=vision.resize_bilinear_into)
        return batch

    return fill


def numpy_bilinear(image: Image, height: int, width: int) -> NDArray[np.float32]:
    """(h, w, 3) uint8 -> (height, width, 3) float32, pixel centres aligned, as it is usually written."""
    rows = ((np.arange(height) + 0.5) * (image.shape[0] / height) - 0.5).clip(0, image.shape[0] - 1)
    cols = ((np.arange(width) + 0.5) * (image.shape[1] / width) - 0.5).clip(0, image.shape[1] - 1)
    top, left = rows.astype(int), cols.astype(int)
    bottom, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down = (rows - top).astype(np.float32)[:, None, None]
    across = (cols - left).astype(np.float32)[None, :, None]
    source = image.astype(np.float32)
    upper, lower = source[top], source[bottom]
    upper = upper[:, left] * (1 - across) + upper[:, right] * across
    lower = lower[:, left] * (1 - across) + lower[:, right] * across
    return upper * (1 - down) + lower * down  # type: ignore[no-any-return]


def way_numpy() -> Callable[[list[Image]], Batch]:
    """float32 (16, 3, 640, 640) in 0..1, padded, without a vision library."""

    def fill(crops: list[Image]) -> Batch:
        batch = np.full((CROPS, 3, SIZE, SIZE), 114 / 255, np.float32)
        for canvas, crop in zip(batch, crops, strict=True):
            p = place_of(crop)
            resized = numpy_bilinear(crop, p.height, p.width).transpose(2, 0, 1) / 255
            canvas[:, p.top : p.top + p.height, p.left : p.left + p.width] = resized
        return batch

    return fill


def way_opencv() -> Callable[[list[Image]], Batch]:
    """float32 (16, 3, 640, 640) in 0..1 by cv2.resize, cv2.copyMakeBorder, transpose, division and stack."""

    def fill(crops: list[Image]) -> Batch:
        canvases = []
        for crop in crops:
            p = place_of(crop)
            resized = cv2.resize(crop, (p.width, p.height), interpolation=cv2.INTER_LINEAR)
            border = (p.top, SIZE - p.height - p.top, p.left, SIZE - p.width - p.left)
            padded = cv2.copyMakeBorder(resized, *border, cv2.BORDER_CONSTANT, value=(114, 114, 114))
            canvases.append(np.ascontiguousarray(padded.transpose(2, 0, 1)).astype(np.float32) / 255)
        return np.stack(canvases)

    return fill


WAYS = {"tercelet": way_tercelet, "numpy": way_numpy, "opencv": way_opencv}


def as_levels(batch: Batch) -> NDArray[np.float32]:
    """Any way's batch as (16, 640, 640, 3) in 0..255."""
    if batch.dtype == np.uint8:
        return batch.astype(np.float32)
    return np.rint(batch.transpose(0, 2, 3, 1) * 255).astype(np.float32)  # type: ignore[no-any-return]


def measure(shape: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Milliseconds of CPU time and ratios of one frame size; every way once in each round."""
    crops = crops_of(frame_of(*shape), seed=1)
    fills = {name: way() for name, way in WAYS.items()}
    reference = as_levels(fills["tercelet"](crops))
    difference = {name: float(np.abs(as_levels(f(crops)) - reference).max()) for name, f in fills.items()}
    assert max(difference.values()) <= LEVELS, difference
    times: dict[str, list[float]] = {name: [] for name in fills}
    for _ in range(rounds):
        for name, fill in fills.items():
            start = process_time()
            fill(crops)
            times[name].append((process_time() - start) * 1e3)
    own = np.array(times["tercelet"])
    result: dict[str, Any] = {"ms": {name: float(np.median(t)) for name, t in times.items()}, "ratio": {}}
    for name in ("numpy", "opencv"):
        low, middle, high = np.percentile(np.array(times[name]) / own, (10, 50, 90))
        result["ratio"][name] = {"median": middle, "p10": low, "p90": high, "levels": difference[name]}
    return result


def main(argv: list[str] | None = None) -> int:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", metavar="FILE", help="- for stdout")
    options = parser.parse_args(argv)
    vision.limit_threads(1)
    results = {name: measure(shape, options.rounds) for name, shape in FRAMES.items()}
    table = sys.stderr if options.json == "-" else sys.stdout
    print(f"{CROPS} crops to {SIZE}x{SIZE}, one thread, {options.rounds} interleaved rounds", file=table)
    print(
        f"{'frame':<7}{'way':<10}{'CPU ms':>8}{'times tercelet':>16}{'p10..p90':>14}{'levels':>8}", file=table
    )
    for frame, result in results.items():
        print(f"{frame:<7}{'tercelet':<10}{result['ms']['tercelet']:>8.1f}", file=table)
        for name, ratio in result["ratio"].items():
            spread = f"{ratio['p10']:.1f}..{ratio['p90']:.1f}"
            row = f"{'':<7}{name:<10}{result['ms'][name]:>8.1f}{ratio['median']:>16.1f}{spread:>14}"
            print(f"{row}{ratio['levels']:>8.0f}", file=table)
    if options.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "opencv": cv2.__version__}
        text = json.dumps({"rounds": options.rounds, "machine": machine, "frames": results}, indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            with open(options.json, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
