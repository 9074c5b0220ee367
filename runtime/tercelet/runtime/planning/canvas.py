"""Plan `canvas`: regions at the scale that their objects need, packed into few canvases.

What is worth a look is decided cell by cell: how many more objects are found when a cell is shown at a larger
scale, and how many canvas pixels that costs. The best cells up to the limit are wanted; they become
rectangles, which are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import Plan, Region, canvases_of
from tercelet.runtime.planning.evidence import Evidence
from tercelet.runtime.planning.packing import pack
from tercelet.runtime.planning.rectangles import CellBox, Prices, rectangles_of

# Sizes on the canvas that are tried for the objects of a plan, as multiples of object_px.
_SIZES = (0.5, 0.75, 1.1, 1.6)
_LARGEST_SCALE = 4.0
# A region that shows the frame hardly larger than the full frame's own canvas is not worth a second look.
_LEAST_ZOOM = 1.2
# Share of the canvases' area that rectangles fill when they are packed.
_FILL = 0.85
# Area of rectangles with margins over the area of the wanted cells in them: a first guess, then measured.
_OVERHEAD = 2.0
_ROUNDS = 3
_CLOSE_ENOUGH = 0.8
# A rectangle may exceed a canvas by this much; its scale is then made smaller.
_SQUEEZE = 1.12


@dataclass(frozen=True)
class CanvasSettings:
    """How plan `canvas` chooses.

    object_px: side of an object on a canvas at which the detector finds about two of three. default_size:
    side of an object where no evidence tells, as a share of the frame's longer side. gutter: canvas pixels
    between two regions. margin: around the wanted cells, in object sizes. worth: a canvas must bring at least
    this share of all objects expected.
    """

    object_px: float = 40.0
    default_size: float = 0.012
    gutter: int = 12
    margin: float = 0.6
    worth: float = 0.02


DEFAULT_SETTINGS = CanvasSettings()


def found_share(side: NDArray[np.float32], object_px: float) -> NDArray[np.float32]:
    """How likely an object of `side` canvas pixels is found: 1 - exp(-(side / object_px)^2).

    The form fits the official YOLOv5n on VisDrone within 0.06 from 10 to 60 pixels, with object_px = 50.
    """
    return 1 - np.exp(-np.square(side / np.float32(object_px)))  # type: ignore[no-any-return]


def plan_canvas(
    evidence: Evidence,
    *,
    canvas: tuple[int, int],
    limit: int,
    settings: CanvasSettings = DEFAULT_SETTINGS,
    threshold: float | None = None,
) -> Plan:
    """Regions of the frame that `evidence` is of, on at most `limit` canvases of (height, width) pixels.

    threshold: mass that a cell must hold to be wanted; None chooses. The same evidence gives the same plan.
    """
    expected = float(evidence.mass.sum())
    if limit < 1 or expected <= 0:
        return Plan(name="canvas", limit=max(limit, 0), expected=expected)
    return _Work(evidence, canvas, limit, settings).plan(threshold)


@dataclass(frozen=True)
class _Offer:
    """Of one size on the canvas: scale (gh,) canvas pixels a frame pixel by row of cells; the useful cells
    with the most found objects a canvas pixel first, that worth of each, and the pixels up to each."""

    size: float
    scale: NDArray[np.float32]
    order: NDArray[np.intp]
    worth: NDArray[np.float32]
    spent: NDArray[np.float32]


@dataclass(frozen=True)
class _Choice:
    """Wanted cells (gh, gw) at one scale a row. margin: in canvas pixels. is_everything: no useful cell is
    missing."""

    wanted: NDArray[np.bool_]
    prices: Prices
    scale: NDArray[np.float32]
    margin: float
    is_everything: bool

    def scale_of(self, box: CellBox) -> float:
        return float(self.scale[(box.top + box.bottom) // 2])


class _Work:
    """One frame's plan in the making."""

    def __init__(
        self, evidence: Evidence, canvas: tuple[int, int], limit: int, settings: CanvasSettings
    ) -> None:
        self.evidence = evidence
        self.canvas = canvas
        self.limit = limit
        self.settings = settings
        self.expected = float(evidence.mass.sum())
        longer = max(evidence.height, evidence.width)
        self.sizes = evidence.row_sizes(settings.default_size * longer)
        full_scale = min(canvas[0] / evidence.height, canvas[1] / evidence.width)
        self.least_scale = full_scale * _LEAST_ZOOM
        # A cell must bring at least so many objects a canvas pixel.
        self.by_pixel = settings.worth * self.expected / (_FILL * canvas[0] * canvas[1])
        self.already = found_share(self.sizes * np.float32(full_scale), settings.object_px)
        self.offers = [self._offer(multiple * settings.object_px) for multiple in _SIZES]

    def plan(self, threshold: float | None) -> Plan:
        """Choose cells, cut them into rectangles, and do it again where these are too large or too small."""
        room = _FILL * self.limit * self.canvas[0] * self.canvas[1]
        overhead = _OVERHEAD
        for turn in range(_ROUNDS):
            choice = self._choose(threshold, room / overhead)
            boxes = rectangles_of(choice.wanted, choice.prices)
            filled = sum(map(choice.prices.of, boxes)) / room
            if not boxes or filled <= 1 and (filled >= _CLOSE_ENOUGH or choice.is_everything):
                break
            if turn < _ROUNDS - 1:
                overhead = min(max(overhead * filled / 0.92, 0.8), 12.0)
        return self._packed(boxes, choice)

    def _offer(self, size: float) -> _Offer:
        """What showing the objects of every cell with `size` canvas pixels costs and brings, best first."""
        mass, settings = self.evidence.mass, self.settings
        scale = np.clip(np.float32(size) / self.sizes, self.least_scale, _LARGEST_SCALE)
        more = found_share(self.sizes * scale, settings.object_px) - self.already
        area = np.square(scale * np.float32(self.evidence.cell))
        worth = (mass * (more / area)[:, None]).ravel()
        useful = np.flatnonzero(worth > self.by_pixel)
        order = useful[np.argsort(-worth[useful], kind="stable")]
        spent = np.cumsum(area[order // mass.shape[1]])
        return _Offer(size, scale, order, worth[order], spent)

    def _choose(self, threshold: float | None, room: float) -> _Choice:
        """The wanted cells of at most `room` canvas pixels, at the size that brings most."""
        best, chosen, count = -1.0, self.offers[0], 0
        for offer in self.offers:
            affordable = int(np.searchsorted(offer.spent, room, side="right"))
            areas = np.diff(offer.spent[:affordable], prepend=0)
            net = float(areas @ (offer.worth[:affordable] - np.float32(self.by_pixel)))
            if net > best:
                best, chosen, count = net, offer, affordable
        mass = self.evidence.mass
        wanted = np.zeros(mass.size, bool)
        wanted[chosen.order[:count]] = True
        if threshold is not None:
            wanted &= mass.ravel() >= threshold
        margin = self.settings.margin * chosen.size
        prices = Prices(
            scales=(chosen.scale * np.float32(self.evidence.cell)).tolist(),
            around=2 * margin + self.settings.gutter,
            largest=(
                _SQUEEZE * self.canvas[1] + self.settings.gutter,
                _SQUEEZE * self.canvas[0] + self.settings.gutter,
            ),
        )
        return _Choice(wanted.reshape(mass.shape), prices, chosen.scale, margin, count == len(chosen.order))

    def _frame_box(self, box: CellBox, choice: _Choice) -> tuple[int, int, int, int]:
        """The rectangle in frame pixels with its margin, inside the frame."""
        cell, margin = self.evidence.cell, ceil(choice.margin / choice.scale_of(box))
        return (
            max(box.left * cell - margin, 0),
            max(box.top * cell - margin, 0),
            min(box.right * cell + margin, self.evidence.width),
            min(box.bottom * cell + margin, self.evidence.height),
        )

    def _packed(self, boxes: Sequence[CellBox], choice: _Choice) -> Plan:
        """Pack the rectangles; of those that find no place the rewarding ones push out the others."""
        frames = [self._frame_box(box, choice) for box in boxes]
        pairs = zip(boxes, frames, strict=True)
        sizes = [self._size_on_canvas(frame, choice.scale_of(box)) for box, frame in pairs]
        mass = self.evidence.mass
        masses = [float(mass[b.top : b.bottom, b.left : b.right].sum()) for b in boxes]
        order = sorted(range(len(boxes)), key=lambda i: (-masses[i] / (sizes[i][0] * sizes[i][1]), boxes[i]))
        places = _most_that_fit([sizes[i] for i in order], self.canvas, self.limit, self.settings.gutter)
        regions, left_out = [], []
        for index, place in zip(order, places, strict=True):
            if place is None:
                left_out.append(frames[index])
                continue
            number, x, y = place
            regions.append(Region(*frames[index], number, x, y, *sizes[index], round(masses[index], 4)))
        return Plan(
            name="canvas",
            regions=tuple(regions),
            canvases=canvases_of(regions),
            limit=self.limit,
            threshold=float(mass[choice.wanted].min()) if len(boxes) else float(mass.max()),
            expected=self.expected,
            covered=sum(region.mass for region in regions),
            left_out=tuple(left_out),
        )

    def _size_on_canvas(self, frame: tuple[int, int, int, int], scale: float) -> tuple[int, int]:
        wide, high = frame[2] - frame[0], frame[3] - frame[1]
        scale = min(scale, self.canvas[1] / wide, self.canvas[0] / high)
        return max(int(wide * scale), 1), max(int(high * scale), 1)


def _most_that_fit(
    sizes: Sequence[tuple[int, int]], canvas: tuple[int, int], limit: int, gutter: int
) -> list[tuple[int, int, int] | None]:
    """Places for the sizes, the most rewarding first in their order: if not all fit, the last are tried last.

    The packer itself goes by height. So the longest row of first ones that fits is packed, and then what
    still finds a place of the rest.
    """
    places = pack(sizes, canvas=canvas, limit=limit, gutter=gutter)
    missing = [index for index, place in enumerate(places) if place is None]
    if not missing:
        return places
    # Leaving out about as much area as found no place, from the end, usually lets the others fit.
    lacking = sum(sizes[i][0] * sizes[i][1] for i in missing)
    count = len(sizes)
    while count > 1 and lacking > 0:
        count -= 1
        lacking -= sizes[count][0] * sizes[count][1]
    first = pack(sizes[:count], canvas=canvas, limit=limit, gutter=gutter, then=sizes[count:])
    kept = sum(sizes[i][0] * sizes[i][1] for i in range(count) if places[i] is not None)
    kept_now = sum(sizes[i][0] * sizes[i][1] for i in range(count) if first[i] is not None)
    return first if kept_now > kept else places
