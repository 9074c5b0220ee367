"""One frame of a VisDrone split: its density map, its crops with annotations, and a record of them."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.density_crops import (
    crop_annotation,
    crop_file_name,
    objects_hit,
    visdrone_text,
)
from tercelet.evaluation.datasets.density_truth import (
    Mode,
    counted_objects,
    density_truth,
    quarter_density,
    upstream_objects,
)
from tercelet.evaluation.datasets.pictures import picture_size
from tercelet.evaluation.datasets.visdrone_txt import VisDroneAnnotation, read_visdrone_annotation
from tercelet.evaluation.preparation.settings import PrepareSettings
from tercelet.evaluation.preparation.writing import write_bytes
from tercelet.runtime.planning.dmnet import plan_dmnet
from tercelet.runtime.vision import read_image, write_image

DENSITY, CROP_PICTURES, CROP_ANNOTATIONS, RECORDS = "density", "crops/images", "crops/annotations", "records"


@dataclass(frozen=True)
class FrameTask:
    """picture, annotation: the files. name: of the picture below its split's images folder. output: the
    folder of the prepared split. mode: what upstream's scripts would be told the split is."""

    picture: Path
    annotation: Path
    name: str
    output: Path
    mode: Mode
    settings: PrepareSettings

    @property
    def stem(self) -> str:
        """What the frame's outputs are named after."""
        return self.picture.stem

    @property
    def record(self) -> Path:
        """The file that says that the frame is done."""
        return self.output / RECORDS / f"{self.stem}.json"


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether a frame has changed since it was prepared."""

    name: str
    picture_bytes: int
    picture_mtime_ns: int
    annotation_sha256: str


@dataclass(frozen=True)
class FrameRecord:
    """complete: False while the outputs are being written. width, height: pixels. objects: that count. hits:
    of them, wholly inside a crop. crops: (left, top, right, bottom) of each. outputs: bytes by file name."""

    complete: bool
    fingerprint: Fingerprint
    width: int
    height: int
    objects: int
    hits: int
    crops: tuple[tuple[int, int, int, int], ...]
    outputs: dict[str, int]


def objects_counted(annotation: VisDroneAnnotation, task: FrameTask) -> NDArray[np.bool_]:
    """(N,) which lines are objects, by the settings."""
    if task.settings.parity:
        return upstream_objects(annotation, mode=task.mode)
    return counted_objects(
        annotation,
        drop_score0=not task.settings.keep_score0,
        drop_heavy_occlusion=task.settings.drop_heavy_occlusion,
    )


def fingerprint_of(task: FrameTask) -> Fingerprint:
    """Of the files as they are now; InputError where one cannot be read."""
    try:
        picture = task.picture.stat()
        digest = sha256(task.annotation.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror or error}") from error
    return Fingerprint(task.name, picture.st_size, picture.st_mtime_ns, digest)


def finished_record(task: FrameTask, fingerprint: Fingerprint) -> FrameRecord | None:
    """The record of a frame whose outputs are all there and fit its files; None if it has to be made."""
    record = _read_record(task)
    if record is None or not record.complete or record.fingerprint != fingerprint:
        return None
    sizes = (_size(task.output / name) for name in record.outputs)
    return record if all(a == b for a, b in zip(sizes, record.outputs.values(), strict=True)) else None


def prepare_frame(task: FrameTask) -> FrameRecord:
    """Write the frame's outputs, then its record; what an unfinished or outdated run left goes first.

    Raises InputError: a picture or annotation that is not what it should be, a disk that is full.
    """
    fingerprint = fingerprint_of(task)
    annotation = read_visdrone_annotation(task.annotation)
    frame = read_image(task.picture) if task.settings.crops else None
    width, height = picture_size(task.picture) if frame is None else (frame.shape[1], frame.shape[0])
    truth = _truth(task, annotation, height, width)
    counted = objects_counted(annotation, task)
    boxes = _plan(task, truth)
    record = FrameRecord(
        complete=False,
        fingerprint=fingerprint,
        width=width,
        height=height,
        objects=int(np.count_nonzero(counted)),
        hits=objects_hit(annotation, counted, boxes),
        crops=tuple((box[0], box[1], box[2], box[3]) for box in boxes.tolist()),
        outputs=dict.fromkeys(_outputs(task, boxes), 0),
    )
    _remove_outputs(task)
    _write_record(task, record)
    write_bytes(task.output / DENSITY / f"{task.stem}.npy", _npy(_scaled(task, truth)))
    if frame is not None:
        for box in boxes:
            _write_crop(task, frame, annotation, counted, box)
    sizes = {name: _size(task.output / name) for name in record.outputs}
    record = replace(record, complete=True, outputs=sizes)
    _write_record(task, record)
    return record


def annotation_of_crop(
    task: FrameTask,
    annotation: VisDroneAnnotation,
    counted: NDArray[np.bool_],
    box: NDArray[np.int64],
) -> VisDroneAnnotation:
    """The lines of one crop, by the settings."""
    settings = task.settings
    return crop_annotation(annotation, counted, box, min_visible=settings.min_visible, parity=settings.parity)


def crop_picture(stem: str, box: NDArray[np.int64]) -> str:
    """Where the picture of a crop lies in the folder of the prepared split."""
    return f"{CROP_PICTURES}/{crop_file_name(box, stem)}.jpg"


def _truth(task: FrameTask, annotation: VisDroneAnnotation, height: int, width: int) -> NDArray[np.float32]:
    settings = task.settings
    if settings.parity:
        return density_truth(
            annotation, height=height, width=width, sigma=settings.sigma, parity=True, mode=task.mode
        )
    return density_truth(
        annotation,
        height=height,
        width=width,
        sigma=settings.sigma,
        drop_score0=not settings.keep_score0,
        drop_heavy_occlusion=settings.drop_heavy_occlusion,
    )


def _plan(task: FrameTask, truth: NDArray[np.float32]) -> NDArray[np.int64]:
    settings = task.settings
    if not settings.crops:
        return np.zeros((0, 4), np.int64)
    return plan_dmnet(truth, window=settings.window, threshold=settings.threshold, parity=settings.parity)


def _scaled(task: FrameTask, truth: NDArray[np.float32]) -> NDArray[np.float32]:
    scale, (height, width) = task.settings.density_scale, truth.shape
    if scale == 1:
        return truth
    if task.settings.parity:
        return quarter_density(truth)
    return DensityMap(truth, height, width).resized(max(height // scale, 1), max(width // scale, 1)).values


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _write_crop(
    task: FrameTask,
    frame: NDArray[np.uint8],
    annotation: VisDroneAnnotation,
    counted: NDArray[np.bool_],
    box: NDArray[np.int64],
) -> None:
    left, top, right, bottom = box.tolist()
    write_image(task.output / crop_picture(task.stem, box), frame[top:bottom, left:right])
    text = visdrone_text(annotation_of_crop(task, annotation, counted, box))
    write_bytes(task.output / _crop_text(task.stem, box), text.encode())


def _crop_text(stem: str, box: NDArray[np.int64]) -> str:
    return f"{CROP_ANNOTATIONS}/{crop_file_name(box, stem)}.txt"


def _outputs(task: FrameTask, boxes: NDArray[np.int64]) -> list[str]:
    names = [f"{DENSITY}/{task.stem}.npy"]
    for box in boxes:
        names += [crop_picture(task.stem, box), _crop_text(task.stem, box)]
    return names


def _remove_outputs(task: FrameTask) -> None:
    """Delete what an earlier record names, which may be more than what is written now."""
    record = _read_record(task)
    for name in () if record is None else record.outputs:
        try:
            (task.output / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{task.output / name}: cannot be replaced: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _write_record(task: FrameTask, record: FrameRecord) -> None:
    write_bytes(task.record, (json.dumps(asdict(record), indent=1) + "\n").encode())


def _read_record(task: FrameTask) -> FrameRecord | None:
    """None where there is none that can be read; the frame is then made anew."""
    try:
        data: dict[str, Any] = json.loads(task.record.read_bytes())
        data["fingerprint"] = Fingerprint(**data["fingerprint"])
        data["crops"] = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in data["crops"])
        data["outputs"] = {str(name): int(size) for name, size in data["outputs"].items()}
        record = FrameRecord(**data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    boxes = np.array(record.crops, np.int64).reshape(-1, 4)
    # A name from the file is about to be deleted: only such names as this frame has.
    return record if set(record.outputs) == set(_outputs(task, boxes)) else None
