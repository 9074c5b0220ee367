"""The function behind `tercelet synth aerial`: a folder of synthetic aerial frames with their annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.evaluation.datasets.visdrone_txt import VISDRONE_CATEGORIES
from tercelet.evaluation.synthetic.frame_files import (
    ANNOTATIONS,
    COCO_NAME,
    PICTURES,
    FrameRequest,
    FrameTruth,
    PictureFormat,
    write_coco,
)
from tercelet.evaluation.synthetic.frame_workers import write_frames
from tercelet.evaluation.synthetic.requested_folder import open_requested_folder
from tercelet.evaluation.synthetic.settings import (
    LARGEST_SIDE,
    SMALLEST_SIDE,
    SceneSettings,
    preset_named,
)
from tercelet.runtime.given_path import given_path
from tercelet.runtime.progress import Progress
from tercelet.runtime.vision import require_opencv

JOBS = 2
_FORMATS: tuple[PictureFormat, ...] = ("jpg", "png")
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class SyntheticResult:
    """objects: by category. long_side_px: quantiles 0, 10, 25, 50, 75, 90 and 100 % of the longer sides of
    the boxes, None without objects. seconds: of this run."""

    output: Path
    preset: str
    seed: int
    frames: int
    width: int
    height: int
    objects: dict[str, int]
    long_side_px: tuple[float, ...] | None
    seconds: float

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "output": str(self.output)}


def synth_aerial(
    output: str | Path,
    *,
    count: int = 100,
    size: str | tuple[int, int] | None = None,
    seed: int = 0,
    preset: str = "default",
    format: PictureFormat = "jpg",
    jobs: int = JOBS,
    settings: SceneSettings | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
) -> SyntheticResult:
    """Write the scenes `seed`, `seed` + 1, ... as a data set that is VisDrone's and COCO's at once:

        images/aerial_SEED.jpg        the frame of aerial_scene(SEED)
        annotations/aerial_SEED.txt   VisDrone's columns in whole pixels
        annotations.json              COCO, boxes to a quarter of a pixel, with the share that is visible
        synthetic.json                the request

    size: (width, height) or "WxH" in pixels, None for that of the preset. settings: instead of the preset's.
    format: "png" keeps every byte of the scenes. jobs: processes. json: file for the summary, "-" for stdout.
    quiet: no progress on stderr. The folder must be new or empty, or hold what the same request made, which
    is then made again. Raises InputError (options, a folder with something else in it, no room).
    """
    start = perf_counter()
    check_json_place(json)
    require_opencv()
    chosen = preset_named(preset)
    width, height = (chosen.width, chosen.height) if size is None else _size(size)
    _check_options(count=count, seed=seed, format=format, jobs=jobs)
    folder = given_path(output, name="output")
    settings = chosen.settings if settings is None else settings
    open_requested_folder(
        folder,
        {
            "preset": preset,
            "seed": seed,
            "count": count,
            "width": width,
            "height": height,
            "format": format,
            "settings": asdict(settings),
        },
        made_by="tercelet synth aerial",
        folders=(PICTURES, ANNOTATIONS),
        stale=(COCO_NAME,),
    )
    requests = [
        FrameRequest(folder, number, width, height, format, settings) for number in range(seed, seed + count)
    ]
    with Progress(count, "synth", silent=quiet) as progress:
        truths = write_frames(requests, jobs=jobs, advance=progress.advance)
    write_coco(folder, list(zip(requests, truths, strict=True)))
    result = SyntheticResult(
        output=folder,
        preset=preset,
        seed=seed,
        frames=count,
        width=width,
        height=height,
        objects=_counts(truths),
        long_side_px=_long_sides(truths),
        seconds=perf_counter() - start,
    )
    if json is not None:
        write_json(json, result.record())
    return result


def synthesis_text(result: SyntheticResult) -> str:
    """A line a fact."""
    objects = ", ".join(f"{name} {count}" for name, count in result.objects.items() if count) or "none"
    total = sum(result.objects.values())
    rows = [
        ("frames", f"{result.frames} of {result.width}x{result.height}, seeds {result.seed} to "
                   f"{result.seed + result.frames - 1}, preset {result.preset}"),
        ("objects", f"{total} ({total / result.frames:.0f} a frame): {objects}"),
    ]  # fmt: skip
    if result.long_side_px is not None:
        low, tenth, _, half, _, most, high = result.long_side_px
        rows.append(
            (
                "longer side",
                f"{low:.0f} to {high:.0f} px, median {half:.0f}, 10-90 % {tenth:.0f} to {most:.0f}",
            )
        )
    rows += [
        ("time", f"{result.seconds:.1f} s, {result.seconds / result.frames:.2f} s a frame"),
        ("written to", str(result.output)),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _size(size: str | tuple[int, int]) -> tuple[int, int]:
    """(width, height); InputError unless both can be drawn."""
    try:
        width, height = (int(side) for side in (size.lower().split("x") if isinstance(size, str) else size))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"size: expected WIDTHxHEIGHT such as 1920x1080, got {size!r}") from error
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (width, height)):
        raise InputError(f"size: expected sides of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, got {size!r}")
    return width, height


def _check_options(*, count: int, seed: int, format: str, jobs: int) -> None:
    if count < 1:
        raise InputError(f"count: expected at least 1 frame, got {count}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")
    if format not in _FORMATS:
        raise InputError(f"format: expected one of {', '.join(_FORMATS)}, got {format!r}")
    if jobs < 1:
        raise InputError(f"jobs: expected at least 1 process, got {jobs}")


def _counts(truths: Sequence[FrameTruth]) -> dict[str, int]:
    ids = [class_id for truth in truths for class_id in truth.class_ids]
    found = np.bincount(np.array(ids, np.int64), minlength=len(VISDRONE_CATEGORIES)).tolist()
    return dict(zip(VISDRONE_CATEGORIES, found, strict=True))


def _long_sides(truths: Sequence[FrameTruth]) -> tuple[float, ...] | None:
    sides = [max(x2 - x1, y2 - y1) for truth in truths for x1, y1, x2, y2 in truth.boxes]
    if not sides:
        return None
    return tuple(float(value) for value in np.round(np.quantile(sides, _QUANTILES), 2))
