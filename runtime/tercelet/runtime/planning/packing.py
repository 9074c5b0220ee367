"""Rectangles into canvases: a guillotine packer, deterministic, quick for a few dozen rectangles."""

from __future__ import annotations

from collections.abc import Sequence

# x, y, width, height of a part of a canvas that is still free.
_Free = tuple[int, int, int, int]


def pack(
    sizes: Sequence[tuple[int, int]],
    *,
    canvas: tuple[int, int],
    limit: int,
    gutter: int,
    then: Sequence[tuple[int, int]] = (),
    taken: tuple[int, int] | None = None,
) -> list[tuple[int, int, int] | None]:
    """Place rectangles of (width, height) on at most `limit` canvases of (height, width), all in pixels.

    Returns (canvas, x, y) for each size in its order, None for one that found no place. Between two
    rectangles lie at least `gutter` pixels; at the border of a canvas none are needed. They are taken from
    the tallest to the flattest; a new canvas is begun only when all open ones have no place. then: more of
    them, taken after all the others; their places follow in the result. taken: (width, height) of a rectangle
    that lies in the upper left corner of canvas 0 already.
    """
    # A gutter is kept right of and below each rectangle; one that reaches the border may hang over.
    high, wide = canvas[0] + gutter, canvas[1] + gutter
    open_canvases: list[list[_Free]] = []
    if taken is not None:
        open_canvases.append([(0, 0, wide, high)])
        _take(open_canvases[0], 0, min(taken[0] + gutter, wide), min(taken[1] + gutter, high))
    all_sizes, first = [*sizes, *then], len(sizes)
    places: list[tuple[int, int, int] | None] = [None] * len(all_sizes)
    order = sorted(range(len(all_sizes)), key=lambda i: (i >= first, -all_sizes[i][1], -all_sizes[i][0], i))
    for index in order:
        width, height = all_sizes[index][0] + gutter, all_sizes[index][1] + gutter
        if width > wide or height > high:
            continue
        found = _best_place(open_canvases, width, height)
        if found is None:
            if len(open_canvases) == limit:
                continue
            open_canvases.append([(0, 0, wide, high)])
            found = len(open_canvases) - 1, 0
        number, position = found
        x, y = _take(open_canvases[number], position, width, height)
        places[index] = number, x, y
    return places


def _best_place(canvases: Sequence[Sequence[_Free]], width: int, height: int) -> tuple[int, int] | None:
    """Canvas and free part where the rectangle leaves the shortest side over; the first among equals."""
    best, chosen = None, None
    for number, parts in enumerate(canvases):
        for position, (_, _, free_width, free_height) in enumerate(parts):
            if free_width >= width and free_height >= height:
                over = min(free_width - width, free_height - height)
                if best is None or over < best:
                    best, chosen = over, (number, position)
    return chosen


def _take(parts: list[_Free], position: int, width: int, height: int) -> tuple[int, int]:
    """Put the rectangle into the corner of a free part and cut what is left in two."""
    x, y, free_width, free_height = parts.pop(position)
    right, below = free_width - width, free_height - height
    if right * free_height > below * free_width:  # the larger part stays whole
        pieces = ((x + width, y, right, free_height), (x, y + height, width, below))
    else:
        pieces = ((x, y + height, free_width, below), (x + width, y, right, height))
    parts.extend(piece for piece in pieces if piece[2] > 0 and piece[3] > 0)
    return x, y
