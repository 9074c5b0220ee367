"""Sheets of pictures: what a detector is shown, and what it makes of frames that it has never seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.labels import color_for
from tercelet.training.density_training.frames import opencv
from tercelet.training.detector_training.records.whole_file import write_whole
from tercelet.training.detector_training.targets import Batch

SAMPLES_FILE = "samples.png"
PREDICTIONS_FILE = "predictions.png"
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

_TILE = 480  # the longer side of a canvas on a sheet, in pixels; larger canvases keep their size up to twice
_GAP, _STRIP = 8, 26
SHEET_GROUND: Color = (38, 32, 28)
_WHITE: Color = (235, 235, 235)
_IGNORED: Color = (205, 205, 205)
# With more boxes on a tile than this, words would hide what they name: colours and the legend have to do.
_NAMED = 14
_FONT_SCALE = 0.42


@dataclass(frozen=True)
class PredictedView:
    """A view of a validation frame. image: (H, W, 3) uint8 RGB. boxes (N, 4), found_boxes (M, 4): xyxy in its
    pixels. class_ids (N,), found_class_ids (M,). scores (M,), 0 to 1."""

    image: Image
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    found_boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    found_class_ids: NDArray[np.int64]


@dataclass(frozen=True)
class _Boxes:
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None


def save_samples(batch: Batch, path: str | Path, *, labels: Sequence[str], limit: int = 16) -> Path:
    """Write the first `limit` images of a training batch with their boxes as one PNG, and return the path.

    Canvases are enlarged to 480 px. Ignored parts are grey and crossed out. Raises InputError for an empty
    batch or a class without a label, MissingDependencyError without OpenCV.
    """
    targets = batch.targets
    rows, ignored_rows = targets.rows.cpu().numpy(), targets.ignored_rows.cpu().numpy()
    boxes, class_ids = targets.boxes.cpu().numpy(), targets.class_ids.cpu().numpy()
    ignored = targets.ignored.cpu().numpy()
    tiles = []
    for row, image in enumerate(batch.images[:limit].cpu().numpy().transpose(0, 2, 3, 1)):
        own = _Boxes(boxes[rows == row], class_ids[rows == row])
        tiles.append(_tile(image, own, labels, ignored=ignored[ignored_rows == row]))
    entries = legend_entries(labels, class_ids[rows < len(tiles)])
    return save_sheet(path, tiles, _columns(len(tiles)), entries)


def save_predictions(
    views: Sequence[PredictedView],
    path: str | Path,
    *,
    labels: Sequence[str],
    score: float = 0.25,
    limit: int = 8,
) -> Path:
    """Write the first `limit` views as one PNG, ground truth left and what was found right, and return the
    path. Detections above `score` are drawn. Errors as for `save_samples`.
    """
    tiles, nothing = [], np.zeros(0, np.int64)
    truth_ids, found_ids = [nothing], [nothing]
    for view in views[:limit]:
        kept = view.scores > score
        found = _Boxes(view.found_boxes[kept], view.found_class_ids[kept], view.scores[kept])
        truth = _Boxes(view.boxes, view.class_ids)
        pair = [_tile(view.image, truth, labels), _tile(view.image, found, labels)]
        tiles.append(np.concatenate((pair[0], _block(len(pair[0]), 2), pair[1]), axis=1))
        truth_ids.append(truth.class_ids)
        found_ids.append(found.class_ids)
    title = (f"left: ground truth   right: found, score above {score:g}", SHEET_GROUND)
    entries = legend_entries(labels, np.concatenate(truth_ids), np.concatenate(found_ids))
    return save_sheet(path, tiles, 1 if len(tiles) <= 3 else 2, [title, *entries])


def _columns(count: int) -> int:
    return min(4, math.ceil(math.sqrt(max(count, 1))))


def _tile(
    image: Image,
    marked: _Boxes,
    labels: Sequence[str],
    *,
    ignored: NDArray[np.float32] | None = None,
) -> Image:
    """A BGR picture of a view in the size of the sheet, its boxes drawn on top after the enlargement."""
    cv2 = opencv()
    height, width = image.shape[:2]
    factor = min(max(_TILE / max(height, width), 1.0), 8.0)
    factor = min(factor, 2 * _TILE / max(height, width))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor >= 2 else cv2.INTER_LINEAR
    picture: Image = cv2.resize(np.ascontiguousarray(image[..., ::-1]), size, interpolation=way)
    for box in ignored if ignored is not None else ():
        left, top, right, bottom = _corners(box, factor, size)
        cv2.rectangle(picture, (left, top), (right, bottom), _IGNORED, 1)
        cv2.line(picture, (left, top), (right, bottom), _IGNORED, 1)
        cv2.line(picture, (left, bottom), (right, top), _IGNORED, 1)
    order = np.arange(len(marked.boxes)) if marked.scores is None else np.argsort(marked.scores)
    for index in order.tolist():
        left, top, right, bottom = _corners(marked.boxes[index], factor, size)
        color = color_for(int(marked.class_ids[index]))
        cv2.rectangle(picture, (left, top), (right, bottom), color, 1)
    if len(marked.boxes) <= _NAMED:
        for index in order.tolist():
            _name(picture, marked, index, labels, corner=_corners(marked.boxes[index], factor, size)[:2])
    return picture


def _corners(box: NDArray[np.float32], factor: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Outermost pixels that the box covers on a tile of (width, height) `size`, inclusive."""
    left, top, right, bottom = (float(value) * factor for value in box)
    return (
        min(max(round(left), 0), size[0] - 1),
        min(max(round(top), 0), size[1] - 1),
        min(max(round(right) - 1, 0), size[0] - 1),
        min(max(round(bottom) - 1, 0), size[1] - 1),
    )


def _name(
    picture: Image, marked: _Boxes, index: int, labels: Sequence[str], *, corner: tuple[int, int]
) -> None:
    """Label and score above a box, below its upper edge where there is no room, and never outside."""
    class_id = int(marked.class_ids[index])
    text = _label(labels, class_id)
    if marked.scores is not None:
        text += f" {float(marked.scores[index]):.2f}"
    width, height = _text_size(text)
    left = max(0, min(corner[0], picture.shape[1] - width))
    top = corner[1] - height if corner[1] >= height else min(corner[1] + 1, picture.shape[0] - height)
    _write(picture, text, (left, max(top, 0)), ground=color_for(class_id))


def _text_size(text: str) -> tuple[int, int]:
    cv2 = opencv()
    (width, ascent), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, 1)
    return width + 4, ascent + descent + 2


def _write(picture: Image, text: str, corner: tuple[int, int], *, ground: Color) -> None:
    """Text on a field of its own, its left top corner at `corner`, black or white, as is legible."""
    cv2 = opencv()
    width, height = _text_size(text)
    descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, 1)[1]
    left, top = corner
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), ground, cv2.FILLED)
    ink = (0, 0, 0) if 0.114 * ground[0] + 0.587 * ground[1] + 0.299 * ground[2] > 140 else (255, 255, 255)
    foot = (left + 2, top + height - 1 - descent)
    cv2.putText(picture, text, foot, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, ink, 1, cv2.LINE_AA)


def _label(labels: Sequence[str], class_id: int) -> str:
    if not 0 <= class_id < len(labels):
        raise InputError(f"class {class_id}: expected one of {len(labels)} labels; hand in all labels")
    return labels[class_id]


def _block(height: int, width: int) -> Image:
    return np.full((height, width, 3), SHEET_GROUND, np.uint8)


def legend_entries(labels: Sequence[str], *class_ids: NDArray[np.int64]) -> list[tuple[str, Color]]:
    """Each class that there is: its name with the number of its boxes in each of the lists, its colour."""
    entries = []
    for number in np.unique(np.concatenate(class_ids)).tolist():
        counts = " / ".join(str(np.count_nonzero(ids == number)) for ids in class_ids)
        entries.append((f"{_label(labels, number)} ({counts})", color_for(number)))
    return entries


def save_sheet(
    path: str | Path, tiles: Sequence[Image], columns: int, entries: Sequence[tuple[str, Color]]
) -> Path:
    """Write BGR pictures, so many side by side, and below them what colours mean, as one PNG.

    Returns the path. Raises InputError without a picture.
    """
    if not tiles:
        raise InputError(f"{path}: expected at least one picture to show, got none")
    cell_height, cell_width = (max(tile.shape[axis] for tile in tiles) + _GAP for axis in (0, 1))
    rows = math.ceil(len(tiles) / columns)
    sheet = _block(rows * cell_height + _GAP, columns * cell_width + _GAP)
    for number, tile in enumerate(tiles):
        top = _GAP + number // columns * cell_height
        left = _GAP + number % columns * cell_width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    done, data = opencv().imencode(".png", np.concatenate((sheet, *_legend(entries, sheet.shape[1]))))
    if not done:
        raise InputError(f"{path}: expected a picture of a size that can be written, got {sheet.shape}")
    write_whole(Path(path), data.tobytes())
    return Path(path)


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> list[Image]:
    """Strips of that width that say what the colours mean, as many as it takes."""
    strips: list[Image] = []
    left = width
    for text, color in entries:
        needed = _text_size(text)[0]
        if left + needed + _GAP > width:
            strips.append(_block(_STRIP, width))
            left = _GAP
        _write(strips[-1], text, (left, 3), ground=color)
        left += needed + _GAP
    return strips
