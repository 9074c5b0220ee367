"""Annotations of density crops: what is visible in each part of a frame that was cut out.

Upstream (Cli98/DMNet, no licence stated; none of its code is here) keeps the boxes that lie wholly in a crop
and drops the others, whose objects stay visible all the same. Here they stay, marked to be ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import box_area, intersection_area
from tercelet.evaluation.datasets.visdrone_txt import VisDroneAnnotation

# Below a tenth an object cannot be told from its surroundings.
MIN_VISIBLE = 0.1

Name = TypeVar("Name", bound=str)


def crop_file_name(box: NDArray[np.int64], frame: str) -> str:
    """The name of a crop: {top}_{left}_{bottom}_{right}_{frame}, edges half-open in frame pixels."""
    left, top, right, bottom = (int(edge) for edge in box)
    return f"{top}_{left}_{bottom}_{right}_{frame}"


def crop_from_file_name(name: str) -> tuple[NDArray[np.int64], str]:
    """The box (4,) left, top, right, bottom and the name of the frame that a crop's name states.

    Raises InputError for a name that is none of crop_file_name.
    """
    *edges, frame = name.split("_", 4)
    if len(edges) != 4 or not frame or not all(edge.isascii() and edge.isdigit() for edge in edges):
        raise InputError(f"expected a crop's name, top_left_bottom_right_frame, got {name!r}")
    top, left, bottom, right = (int(edge) for edge in edges)
    return np.array((left, top, right, bottom), np.int64), frame


def crops_of_frame(names: Iterable[Name], frame: str) -> list[Name]:
    """Those crop names that belong to this very frame; one whose name merely ends in it is another."""
    return [name for name in names if crop_from_file_name(name)[1] == frame]


def crop_annotation(
    annotation: VisDroneAnnotation,
    counted: NDArray[np.bool_],
    box: NDArray[np.int64],
    *,
    min_visible: float = MIN_VISIBLE,
    parity: bool = False,
) -> VisDroneAnnotation:
    """The lines of a frame that concern the crop `box` (left, top, right, bottom), in crop pixels.

    counted: (N,) which lines are objects. One that lies wholly inside has score 1. Everything else that is
    visible is cut at the crop's border and has score 0, to be ignored: objects that the border cuts, lines
    that do not count, ignored regions. Visible is an object with at least `min_visible` of its area inside,
    or one that takes as much of the crop; a region always. A cut object has truncation 1. parity: as
    upstream, the counted lines wholly inside and no other, unchanged but for the shift.
    """
    within = _inside(annotation.boxes, box[None])[:, 0] & annotation.has_extent
    if parity:
        return _lines(annotation, within & counted, box)
    edges = np.asarray(box, np.float64)
    shared = intersection_area(annotation.boxes, edges[None])[:, 0]
    least = min_visible * np.minimum(box_area(annotation.boxes), box_area(edges))
    visible = annotation.has_extent & (shared > 0) & ((shared >= least) | annotation.is_region)
    found = _lines(annotation, visible, box)
    size = np.tile(edges[2:] - edges[:2], 2)
    cut = ~within[visible]
    return VisDroneAnnotation(
        boxes=found.boxes.clip(0, size),
        scores=(within & counted)[visible].astype(np.int64),
        categories=found.categories,
        truncation=np.where(cut & ~found.is_region, 1, found.truncation),
        occlusion=found.occlusion,
    )


def objects_hit(annotation: VisDroneAnnotation, counted: NDArray[np.bool_], boxes: NDArray[np.int64]) -> int:
    """How many of the counted objects lie wholly inside at least one of the crops (M, 4)."""
    return int(np.count_nonzero(_inside(annotation.boxes[counted], boxes).any(axis=1)))


def visdrone_text(annotation: VisDroneAnnotation) -> str:
    """The lines of a VisDrone file; boxes on whole pixels, as the format has them."""
    corner, size = annotation.boxes[:, :2], annotation.boxes[:, 2:] - annotation.boxes[:, :2]
    others = (annotation.scores, annotation.categories, annotation.truncation, annotation.occlusion)
    table = np.concatenate((corner, size, np.stack(others, axis=1)), axis=1).astype(np.int64)
    return "".join(",".join(map(str, line)) + "\n" for line in table.tolist())


def _inside(boxes: NDArray[np.float64], crops: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, M) whether each box lies wholly in each crop."""
    inner, outer = boxes[:, None], crops[None]
    begins, ends = inner[..., :2] >= outer[..., :2], inner[..., 2:] <= outer[..., 2:]
    return np.asarray(np.concatenate((begins, ends), axis=-1).all(-1), np.bool_)


def _lines(
    annotation: VisDroneAnnotation, chosen: NDArray[np.bool_], box: NDArray[np.int64]
) -> VisDroneAnnotation:
    """The chosen lines, moved to the crop's corner."""
    return VisDroneAnnotation(
        boxes=annotation.boxes[chosen] - np.tile(box[:2], 2),
        scores=annotation.scores[chosen],
        categories=annotation.categories[chosen],
        truncation=annotation.truncation[chosen],
        occlusion=annotation.occlusion[chosen],
    )
