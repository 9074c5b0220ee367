"""Plan `grid`: uniform tiles with overlap, one a canvas; what slicing libraries do, and the baseline here."""

from __future__ import annotations

from tercelet.contract.geometry import letterbox_for
from tercelet.contract.plan import Plan, Region

DEFAULT_OVERLAP = 0.2


def tile_starts(length: int, *, tile: int, overlap: float) -> tuple[int, ...]:
    """Where tiles of `tile` pixels begin along an axis of `length` pixels; the last one ends at its end.

    A tile that would cross the end is moved back, so that all have the full size; an axis shorter than a tile
    has one, which begins at 0.
    """
    step = max(1, int(tile * (1 - overlap)))
    starts = list(range(0, max(length - tile, 0) + 1, step))
    if starts[-1] + tile < length:
        starts.append(length - tile)
    return tuple(starts)


def plan_grid(
    height: int,
    width: int,
    *,
    canvas: tuple[int, int],
    overlap: float = DEFAULT_OVERLAP,
    limit: int | None = None,
) -> Plan:
    """Tiles of the canvas's size at scale 1 over a frame of height x width pixels.

    canvas: (height, width) in pixels. overlap: of neighbours, 0..1 of a side. limit: the most tiles, None for
    as many as it takes; those that are too many are left out from the end and reported.
    """
    high, wide = canvas
    boxes = [
        (left, top, min(left + wide, width), min(top + high, height))
        for top in tile_starts(height, tile=high, overlap=overlap)
        for left in tile_starts(width, tile=wide, overlap=overlap)
    ]
    kept = boxes[:limit]
    return Plan(
        name="grid",
        regions=tuple(region_on_own_canvas(box, number, canvas) for number, box in enumerate(kept)),
        canvases=len(kept),
        limit=len(boxes) if limit is None else limit,
        left_out=tuple(boxes[len(kept) :]),
    )


def region_on_own_canvas(
    box: tuple[int, int, int, int], number: int, canvas: tuple[int, int], *, enlarge: bool = False
) -> Region:
    """A box of the frame alone on canvas `number`, proportions kept; smaller ones only enlarged if asked."""
    left, top, right, bottom = box
    high, wide = bottom - top, right - left
    if not enlarge and high <= canvas[0] and wide <= canvas[1]:
        return Region(left, top, right, bottom, number, 0, 0, wide, high)
    place = letterbox_for(high, wide, height=canvas[0], width=canvas[1])
    return Region(left, top, right, bottom, number, place.left, place.top, place.width, place.height)
