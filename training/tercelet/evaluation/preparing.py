"""The function behind `tercelet prepare visdrone`: density maps, density crops and COCO JSON in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.evaluation.datasets.density_crops import MIN_VISIBLE
from tercelet.evaluation.datasets.density_truth import SIGMA
from tercelet.evaluation.datasets.visdrone_txt import read_visdrone_annotation
from tercelet.evaluation.preparation.coco import CocoImage, write_coco
from tercelet.evaluation.preparation.folder import CROPS_JSON, FRAMES_JSON, check_output, open_output
from tercelet.evaluation.preparation.frame import (
    FrameRecord,
    FrameTask,
    annotation_of_crop,
    crop_picture,
    fingerprint_of,
    finished_record,
    objects_counted,
)
from tercelet.evaluation.preparation.result import PreparationResult, PreparedSplit
from tercelet.evaluation.preparation.settings import PrepareSettings
from tercelet.evaluation.preparation.splits import Split, splits_below
from tercelet.evaluation.preparation.workers import prepare_frames
from tercelet.runtime.given_path import given_path
from tercelet.runtime.planning.dmnet import THRESHOLD, WINDOW
from tercelet.runtime.progress import Progress

DENSITY_SCALE = 4
JOBS = 2


def prepare_visdrone(
    root: str | Path,
    *,
    output: str | Path,
    window: int = WINDOW,
    threshold: float = THRESHOLD,
    sigma: float = SIGMA,
    density_scale: int = DENSITY_SCALE,
    min_visible: float = MIN_VISIBLE,
    drop_heavy_occlusion: bool = False,
    keep_score0: bool = False,
    crops: bool = True,
    parity: bool = False,
    jobs: int = JOBS,
    json: str | Path | None = None,
    quiet: bool = False,
) -> PreparationResult:
    """Write what training and judging on VisDrone needs besides its pictures.

    root: a split (images/ and annotations/) or a folder of splits; each then gets a subfolder of `output`:
        density/NAME.npy           float32 objects a cell, (H, W) or with density_scale 4 (H // 4, W // 4)
        crops/images, annotations  the density crops, a VisDrone split of their own
        annotations_frames.json    COCO; file names start from the split's images folder
        annotations_crops.json     COCO; file names start from the JSON's own folder
        records/NAME.json          what was made of a frame
    window, threshold: of `plan_dmnet`, on the density at full size. sigma: of each object's Gaussian in
    pixels. drop_heavy_occlusion, keep_score0: which objects count, see `counted_objects`. min_visible, crops,
    parity: see PrepareSettings; the COCO files are never upstream's. jobs: processes. json: file for the
    result, "-" for stdout. quiet: no progress on stderr. A frame that is complete and whose files have not
    changed is not made again, so that a run which was stopped, in whatever way, goes on where it was. Every
    annotation is read before anything is written. Raises InputError (folders, annotations, pictures, options,
    a full disk, an output made with other settings), CheckFailedError (a process that died).
    """
    start = perf_counter()
    check_json_place(json)
    if jobs < 1:
        raise InputError(f"jobs: expected at least 1 process, got {jobs}")
    settings = PrepareSettings(
        window=window,
        threshold=float(threshold),
        sigma=float(sigma),
        density_scale=density_scale,
        min_visible=float(min_visible),
        drop_heavy_occlusion=drop_heavy_occlusion,
        keep_score0=keep_score0,
        crops=crops,
        parity=parity,
    )
    root, output = given_path(root, name="root"), given_path(output, name="output")
    splits = splits_below(root, output, settings)
    check_output(output, settings, splits)
    todo = {split.name: _to_do(split) for split in splits}
    with open_output(output, settings, splits):
        tasks = [task for each in todo.values() for task in each]
        for split in splits:
            if todo[split.name]:
                _remove_coco(split)
        with Progress(len(tasks), "prepare", silent=quiet) as progress:
            prepare_frames(tasks, jobs=jobs, advance=progress.advance)
        made = tuple(_finish(split, len(split.tasks) - len(todo[split.name])) for split in splits)
    notes = [note for split in splits for note in _notes(split)]
    result = PreparationResult(root, output, settings, made, perf_counter() - start, tuple(notes))
    if json is not None:
        write_json(json, result.record())
    return result


def _to_do(split: Split) -> list[FrameTask]:
    """The frames that are not complete; InputError with file and line for an annotation that is wrong."""
    tasks = []
    for task in split.tasks:
        if finished_record(task, fingerprint_of(task)) is None:
            read_visdrone_annotation(task.annotation)
            tasks.append(task)
    return tasks


def _remove_coco(split: Split) -> None:
    """COCO files of an earlier state must not be taken for those of the new one."""
    for name in (FRAMES_JSON, CROPS_JSON):
        try:
            (split.output / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{split.output / name}: cannot be replaced: {error.strerror}") from error


def _finish(split: Split, found: int) -> PreparedSplit:
    """Write the COCO files of a split whose frames are complete, and add it up."""
    done = [(task, _record(task)) for task in split.tasks]
    write_coco(split.output / FRAMES_JSON, (_coco_frame(task, record) for task, record in done))
    if done[0][0].settings.crops:
        write_coco(split.output / CROPS_JSON, _coco_crops(done))
    records = [record for _, record in done]
    area = sum((right - left) * (bottom - top) for r in records for left, top, right, bottom in r.crops)
    return PreparedSplit(
        name=split.name,
        frames=len(records),
        found=found,
        objects=sum(record.objects for record in records),
        crops=sum(len(record.crops) for record in records),
        hits=sum(record.hits for record in records),
        crop_area_share=area / sum(record.width * record.height for record in records),
    )


def _record(task: FrameTask) -> FrameRecord:
    record = finished_record(task, fingerprint_of(task))
    if record is None:
        raise InputError(
            f"{task.picture}: it, its annotation or its outputs changed while they were prepared; "
            "the same command makes this frame anew"
        )
    return record


def _coco_frame(task: FrameTask, record: FrameRecord) -> CocoImage:
    annotation = read_visdrone_annotation(task.annotation)
    return CocoImage(task.name, record.width, record.height, annotation, objects_counted(annotation, task))


def _coco_crops(done: list[tuple[FrameTask, FrameRecord]]) -> Iterator[CocoImage]:
    for task, record in done:
        annotation = read_visdrone_annotation(task.annotation)
        describe = partial(annotation_of_crop, task, annotation, objects_counted(annotation, task))
        for left, top, right, bottom in record.crops:
            box = np.array((left, top, right, bottom), np.int64)
            lines = describe(box)
            # Upstream's crop annotations hold nothing but objects, whatever their score.
            counted = np.ones(len(lines.scores), bool) if task.settings.parity else lines.scores == 1
            yield CocoImage(crop_picture(task.stem, box), right - left, bottom - top, lines, counted)


def _notes(split: Split) -> list[str]:
    if not split.spare:
        return []
    return [f"{split.name}: {len(split.spare)} annotations have no picture, for example {split.spare[0]}"]
