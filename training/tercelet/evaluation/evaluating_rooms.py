"""`tercelet evaluate` for detectors of pipeline rgbd: AP of oriented boxes on SUN RGB-D and rooms like it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest
from tercelet.contract.detections3d import Detections3d
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder, check_json_place, write_json
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.session import SessionOptions
from tercelet.evaluation.average_precision_3d import JudgedFrame3d, Precision3d, average_precision_3d
from tercelet.evaluation.datasets.sunrgbd import open_sunrgbd
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset, RoomScene
from tercelet.evaluation.datasets.sunrgbd_trainval import LabelVersion
from tercelet.evaluation.result import figure_text
from tercelet.evaluation.table import text_table
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.given_path import given_path
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.pipelines.single import Overrides
from tercelet.runtime.progress import Progress
from tercelet.runtime.rgbd_drawing import draw_rgbd
from tercelet.runtime.rgbd_opening import open_rgbd
from tercelet.runtime.sources.rgbd import RgbdFrame
from tercelet.runtime.vision import read_image, write_image

# As mmdetection3d tests: of objectness, and of the boxes' bounds.
SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.25
# Average precision wants every box; a picture of them all shows nothing.
_DRAWN_FROM = 0.3


@dataclass(frozen=True)
class RoomEvaluation:
    """precision: at IoU 0.25 and 0.5, classes in the order of labels. timing_ms: means a frame by stage.
    unmatched: objects of each category that no label of the detector stands for. notes: of the data set and
    of what the detector did without, one sentence each."""

    bundle: str
    dataset: str
    frames: int
    labels: tuple[str, ...]
    precision: tuple[Precision3d, ...]
    timing_ms: Mapping[str, float]
    unmatched: Mapping[str, int]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def ground_truth(self) -> int:
        """Objects of the classes that are judged."""
        return sum(entry.ground_truth for entry in self.precision[0].per_class)

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        return {
            "protocol": "sunrgbd",
            "bundle": self.bundle,
            "dataset": self.dataset,
            "frames": self.frames,
            "ground_truth": self.ground_truth,
            **{f"ap{round(item.iou * 100)}": item.ap for item in self.precision},
            **{f"recall{round(item.iou * 100)}": item.recall for item in self.precision},
            "precision": [item.record(self.labels) for item in self.precision],
            "timing_ms": {name: round(value, 3) for name, value in self.timing_ms.items()},
            "unmatched_categories": dict(self.unmatched),
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def evaluate_rooms(
    bundle: str | Path,
    dataset: str | Path,
    *,
    labels: LabelVersion = "v1",
    split: str | None = None,
    score: float = SCORE_THRESHOLD,
    iou: float = IOU_THRESHOLD,
    per_class: bool = True,
    threads: int | None = None,
    native_ops: bool = True,
    seed: int | None = None,
    limit: int | None = None,
    save: str | Path | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
) -> RoomEvaluation:
    """Run a bundle of pipeline rgbd over rooms and return AP at IoU 0.25 and 0.5, by class.

    dataset, labels, split, limit: see `open_sunrgbd`. score: least objectness. iou: suppression among boxes
    of one class. per_class: each box that is kept counts once for every class with its score there, as SUN
    RGB-D's published figures do; False judges what `tercelet run` shows, the best class alone. threads,
    native_ops, seed: see `tercelet.runtime.open_pipeline`. Scenes with a picture and a calibration show both
    to the detector. save: folder for pictures, ground truth from above on the left, detections beside it.
    json: file for the result, "-" for stdout. quiet: no progress on stderr. Raises InputError (bundle, data
    set, clouds), CheckFailedError, MissingDependencyError.
    """
    check_json_place(json)
    folder = None if save is None else given_path(save, name="save")
    if folder is not None:
        check_folder(folder)
    place = given_path(bundle, name="bundle")
    manifest = read_manifest(place)
    data = open_sunrgbd(dataset, labels=labels, split=split, limit=limit)
    class_of = _class_of_category(data, manifest, place)
    postprocess = Overrides(score, iou, sys.maxsize).apply(manifest.postprocess or Postprocess())
    options = SessionOptions(threads=threads, native_ops=native_ops)
    with open_rgbd(
        place, manifest, options=options, postprocess=postprocess, seed=seed, per_class=per_class
    ) as detect:
        frames, timing, notes = _detect_all(detect, data, class_of, folder, quiet=quiet)
    unmatched = {
        name: sum(int((scene.class_ids == number).sum()) for scene in data.scenes)
        for number, name in enumerate(data.categories)
        if class_of[number] < 0
    }
    result = RoomEvaluation(
        bundle=str(bundle),
        dataset=str(dataset),
        frames=len(data.scenes),
        labels=manifest.labels,
        precision=average_precision_3d(frames, classes=len(manifest.labels)),
        timing_ms=timing,
        unmatched={name: count for name, count in unmatched.items() if count},
        settings={"score": score, "iou": iou, "per_class": per_class, "seed": seed},
        notes=(*data.notes, *notes),
    )
    if json is not None:
        write_json(json, result.record())
    return result


def room_result_text(result: RoomEvaluation) -> str:
    """The result for people: figures by class, what was left out, and where the time went."""
    loose, strict = result.precision
    rows = [
        (name, figure_text(low.ap), figure_text(high.ap), figure_text(low.recall), str(low.ground_truth))
        for name, low, high in zip(result.labels, loose.per_class, strict.per_class, strict=True)
        if low.ground_truth
    ]
    rows.append(
        (
            "mean",
            figure_text(loose.ap),
            figure_text(strict.ap),
            figure_text(loose.recall),
            str(result.ground_truth),
        )
    )
    stages = ", ".join(f"{name} {value:.1f}" for name, value in result.timing_ms.items())
    lines = [
        f"{result.bundle} on {result.dataset}: {result.frames} frames, {result.ground_truth} objects",
        "",
        text_table(("class", "AP25", "AP50", "recall25", "objects"), rows),
        "",
        f"a frame, ms: {stages}",
    ]
    if result.unmatched:
        named = ", ".join(f"{name} {count}" for name, count in result.unmatched.items())
        lines.append(f"not evaluated, no label of the detector: {named}")
    return "\n".join((*lines, *result.notes))


def _class_of_category(data: RoomDataset, manifest: Manifest, folder: Path) -> NDArray[np.int64]:
    """(categories,) the detector's class of each, -1 for none; InputError where none fits."""
    numbers = {label: number for number, label in enumerate(manifest.labels)}
    found = np.array([numbers.get(name, -1) for name in data.categories], np.int64)
    if (found < 0).all():
        raise InputError(
            f"{folder / MANIFEST_NAME}: labels: expected categories of {data.source} "
            f"({', '.join(data.categories)}), got {', '.join(manifest.labels)}"
        )
    return found


def _detect_all(
    detect: RgbdPipeline,
    data: RoomDataset,
    class_of: NDArray[np.int64],
    save: Path | None,
    *,
    quiet: bool,
) -> tuple[list[JudgedFrame3d], dict[str, float], tuple[str, ...]]:
    """Judged frames, mean milliseconds by stage, and how many frames each note was said of."""
    frames: list[JudgedFrame3d] = []
    sums: dict[str, float] = {}
    notes: dict[str, int] = {}
    with Progress(len(data.scenes), "evaluate", silent=quiet) as progress:
        for scene in data.scenes:
            frame = _frame_of(scene)
            found = detect(frame)
            classes = class_of[scene.class_ids]
            is_judged = classes >= 0
            frames.append(
                JudgedFrame3d(
                    scene.boxes[is_judged],
                    classes[is_judged],
                    found.boxes,
                    found.class_ids,
                    found.scores,
                )
            )
            for stage, value in found.timing_ms.items():
                sums[stage] = sums.get(stage, 0.0) + value
            for note in found.notes:
                notes[note] = notes.get(note, 0) + 1
            if save is not None:
                _save(save, scene, frame, found, classes)
            progress.advance()
    count = max(1, len(frames))
    timing = {stage: value / count for stage, value in sums.items()}
    return frames, timing, tuple(f"{note} ({times} frames)" for note, times in notes.items())


def _frame_of(scene: RoomScene) -> RgbdFrame:
    return RgbdFrame(
        source=str(scene.cloud),
        cloud=scene.read_cloud(),
        upright=Upright(np.eye(3), "identity"),
        image=None if scene.image is None else read_image(scene.image),
        depth2img=scene.depth2img,
    )


def _save(
    folder: Path, scene: RoomScene, frame: RgbdFrame, found: Detections3d, classes: NDArray[np.int64]
) -> None:
    """folder/ID.jpg: ground truth from above, then the detections as `tercelet run` draws them."""
    truth = replace(
        found,
        boxes=scene.boxes[classes >= 0].astype(np.float32),
        scores=np.ones(int((classes >= 0).sum()), np.float32),
        class_ids=classes[classes >= 0],
        picture_boxes=None,
    )
    left = draw_rgbd(replace(frame, image=None), truth)
    picture = np.hstack((left, draw_rgbd(frame, _shown(found))))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write pictures to: {error.strerror}") from error
    write_image(folder / f"{scene.id}.jpg", picture)


def _shown(found: Detections3d) -> Detections3d:
    """Those with a score to look at, each box under its best class alone."""
    best: dict[bytes, int] = {}
    for row in np.argsort(-found.scores, kind="stable").tolist():
        if found.scores[row] >= _DRAWN_FROM:
            best.setdefault(found.boxes[row].tobytes(), row)
    rows: Sequence[int] = list(best.values())
    return replace(found, boxes=found.boxes[rows], scores=found.scores[rows], class_ids=found.class_ids[rows])
