"""Plan `canvas`: regions at the scale that their objects need, packed into few canvases.

What is worth a look is decided cell by cell: how many more objects are found when a cell is shown at a larger
scale, and how many canvas pixels that costs. The best cells up to the limit are wanted; they become
rectangles, which are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import Plan, Region, canvases_of
from tercelet.runtime.planning.evidence import Evidence
from tercelet.runtime.planning.packing import pack
from tercelet.runtime.planning.rectangles import CellBox, Prices, rectangles_of
from tercelet.runtime.planning.windows import LARGER_SCALES, SCALES, Slot, WindowRules, best_windows

# Sizes on the canvas that are tried for the objects of a plan, as multiples of object_px.
_SIZES = (0.45, 0.8, 1.4)
_LARGEST_SCALE = 4.0
# Where a side counts as the root of the scale or less, windows of the larger scales never win.
_ROOT = 0.5
# Side of an object that nobody knows, as a share of the frame's longer side: the median of VisDrone.
_DEFAULT_SIZE = 0.015
# A region that shows the frame hardly larger than the full frame's own canvas is not worth a second look.
_LEAST_ZOOM = 1.2
# Share of the canvases' area that rectangles fill when they are packed.
_FILL = 0.85
# Area of rectangles with margins over the area of the wanted cells in them: a first guess, then measured.
_OVERHEAD = 3.5
_LEAST_OVERHEAD = 1.5
_CLOSE_ENOUGH = 0.8
# Of what small regions promise by their scale, what remains without their surroundings: windows keep those.
_CONTEXT = 0.9
# A rectangle may exceed a canvas by this much; its scale is then made smaller.
_SQUEEZE = 1.12


@dataclass(frozen=True)
class CanvasSettings:
    """How plan `canvas` chooses.

    object_px: side of an object on a canvas at which the detector finds about two of three. enlarging: beyond
    scale 1 that side counts as scale ** enlarging, 0 to 1. object_size: side of an object in frame pixels
    where no evidence tells; None for a share of the frame's longer side. gutter: canvas pixels between two
    regions. margin: canvas pixels around the wanted cells. worth: a canvas must bring at least this share of
    all objects expected.
    """

    object_px: float = 50.0
    enlarging: float = 0.5
    object_size: float | None = None
    gutter: int = 12
    margin: float = 24.0
    worth: float = 0.005


DEFAULT_SETTINGS = CanvasSettings()


def found_share(
    size: NDArray[np.float32], scale: NDArray[np.float32], object_px: float, enlarging: float = 0.5
) -> NDArray[np.float32]:
    """How likely an object of `size` frame pixels is found at `scale` canvas pixels a frame pixel.

    1 - exp(-(side / object_px)^2) with the side on the canvas. Enlarging adds no detail: beyond scale 1 the
    side counts as if it grew with scale ** enlarging only. With object_px = 50 and the root (0.5) the form
    fits the official YOLOv5n on VisDrone within 0.1 from 10 to 60 pixels at scales of 0.5 to 2.
    """
    side = size * np.minimum(scale, np.power(scale, np.float32(enlarging)))
    return 1 - np.exp(-np.square(side / np.float32(object_px)))  # type: ignore[no-any-return]


def plan_canvas(
    evidence: Evidence,
    *,
    canvas: tuple[int, int],
    limit: int,
    settings: CanvasSettings = DEFAULT_SETTINGS,
    threshold: float | None = None,
    taken: tuple[int, int] | None = None,
) -> Plan:
    """Regions of the frame that `evidence` is of, on at most `limit` canvases of (height, width) pixels.

    threshold: mass that a cell must hold to be wanted; None chooses. taken: (width, height) of what lies in
    the upper left corner of canvas 0 already, which `limit` and the plan's canvases do not count then. The
    same evidence gives the same plan.
    """
    expected = float(evidence.mass.sum())
    nothing = Plan(name="canvas", limit=max(limit, 0), expected=expected, shares_full=taken is not None)
    if limit < 0 or expected <= 0:
        return nothing
    work = _Work(evidence, canvas, limit, settings, taken)
    if work.room <= 0:
        whole = (0, 0, evidence.width, evidence.height)
        return replace(nothing, left_out=(whole,))
    return work.plan(threshold)


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
    """Wanted cells (gh, gw) and the scale of each row (gh,). margin: in canvas pixels. is_everything: no
    useful cell is missing."""

    wanted: NDArray[np.bool_]
    prices: Prices
    scale: NDArray[np.float32]
    margin: float
    is_everything: bool
    threshold: float

    def scale_of(self, box: CellBox) -> float:
        return float(self.scale[(box.top + box.bottom) // 2])


def _least(values: NDArray[np.float32], default: float) -> float:
    return float(values.min()) if len(values) else default


def _cells_to(end: int, cell: int, length: int) -> int:
    """How many cells end at or before `end`; the frame's last one may be cut short."""
    return -(-length // cell) if end >= length else end // cell


class _Work:
    """One frame's plan in the making."""

    def __init__(
        self,
        evidence: Evidence,
        canvas: tuple[int, int],
        limit: int,
        settings: CanvasSettings,
        taken: tuple[int, int] | None,
    ) -> None:
        self.evidence = evidence
        self.canvas = canvas
        self.limit = limit
        self.taken = taken
        # Of all canvases together, what rectangles may cover.
        self.room = limit * canvas[0] * canvas[1] * _FILL
        if taken is not None:
            self.room += max(canvas[0] - taken[1], 0) * canvas[1] * _FILL
            self.room += max(canvas[1] - taken[0], 0) * taken[1] * _FILL
        self.settings = settings
        self.expected = float(evidence.mass.sum())
        longer = max(evidence.height, evidence.width)
        size = _DEFAULT_SIZE * longer if settings.object_size is None else settings.object_size
        self.sizes = evidence.row_sizes(size)
        full_scale = min(canvas[0] / evidence.height, canvas[1] / evidence.width)
        self.least_scale = full_scale * _LEAST_ZOOM
        # A cell must bring at least so many objects a canvas pixel.
        self.by_pixel = settings.worth * self.expected / (_FILL * canvas[0] * canvas[1])
        self.already = self._found(self.sizes, np.full(1, full_scale, np.float32))
        self.offers = [self._offer(multiple * settings.object_px) for multiple in _SIZES]

    def _found(self, sizes: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        return found_share(sizes, scales, self.settings.object_px, self.settings.enlarging)

    def plan(self, threshold: float | None) -> Plan:
        """Choose cells, cut them into rectangles, and do it again where these are too large or too small."""
        choice = self._choose(threshold, self.room / _OVERHEAD)
        windows = None if threshold is not None else self._windows(choice)
        value = self._value(windows) if windows else 0.0
        # More than this packing cannot promise.
        if windows and value > _CONTEXT * self._best_offer(self.room / _LEAST_OVERHEAD)[0]:
            return self._with_left_out(windows, choice)
        boxes = rectangles_of(choice.wanted, choice.prices)
        filled = sum(map(choice.prices.of, boxes)) / self.room
        if filled > 1 or (filled < _CLOSE_ENOUGH and not choice.is_everything and boxes):
            overhead = min(max(_OVERHEAD * filled / 0.92, 0.8), 12.0)
            choice = self._choose(threshold, self.room / overhead)
            boxes = rectangles_of(choice.wanted, choice.prices)
        packed = self._packed(boxes, choice)
        if windows and value > _CONTEXT * self._value(packed):
            return self._with_left_out(windows, choice)
        return packed

    def _windows(self, choice: _Choice) -> Plan:
        """The plan that shows whole canvases of the frame."""
        gains_much = self.settings.enlarging > _ROOT
        rules = WindowRules(
            frame=(self.evidence.height, self.evidence.width),
            cell=self.evidence.cell,
            least_scale=self.least_scale,
            least_gain=self.settings.worth * self.expected,
            margin=self.settings.margin,
            scales=SCALES + LARGER_SCALES if gains_much else SCALES,
            is_mixed=gains_much,
        )
        regions = list(best_windows(self._gain, self._slots(), rules))
        mass = self.evidence.mass.copy()
        for index, region in enumerate(regions):
            part = mass[self._cells_of(region)]
            regions[index] = region._replace(mass=round(float(part.sum()), 4))
            part.fill(0)  # what two windows show is in one of them
        return Plan(
            name="canvas",
            regions=tuple(regions),
            canvases=max(canvases_of(regions) - (self.taken is not None), 0),
            limit=self.limit,
            threshold=choice.threshold,
            expected=self.expected,
            covered=sum(region.mass for region in regions),
            shares_full=self.taken is not None,
        )

    def _with_left_out(self, plan: Plan, choice: _Choice) -> Plan:
        """The plan with the wanted cells that it does not show, as rectangles of the frame."""
        missing = choice.wanted & (self._scales_of(plan.regions) <= 0)
        boxes = rectangles_of(missing, choice.prices)
        return replace(plan, left_out=tuple(self._frame_box(box, choice) for box in boxes))

    def _slots(self) -> list[Slot]:
        """Whole canvases, and what the full frame leaves of its own."""
        high, wide = self.canvas
        if self.taken is None:
            return [Slot(number, 0, 0, wide, high) for number in range(self.limit)]
        slots = [Slot(1 + number, 0, 0, wide, high) for number in range(self.limit)]
        right, below = self.taken[0] + self.settings.gutter, self.taken[1] + self.settings.gutter
        if high - below >= wide - right:
            slots.append(Slot(0, 0, below, wide, high - below))
        else:
            slots.append(Slot(0, right, 0, wide - right, high))
        return slots

    def _gain(self, scale: float) -> NDArray[np.float32]:
        """Objects that each cell brings when it is shown at `scale`, beyond those that are found anyway."""
        found = self._found(self.sizes, np.full(1, scale, np.float32))
        gain: NDArray[np.float32] = self.evidence.mass * np.maximum(found - self.already, 0)[:, None]
        return gain

    def _scales_of(self, regions: Sequence[Region]) -> NDArray[np.float32]:
        """(gh, gw) the largest scale at which a region shows each cell whole, 0 where none does."""
        scales = np.zeros(self.evidence.mass.shape, np.float32)
        for region in regions:
            part = scales[self._cells_of(region)]
            np.maximum(part, np.float32(region.scale), out=part)
        return scales

    def _cells_of(self, region: Region) -> tuple[slice, slice]:
        """Rows and columns of the cells that lie wholly in a region."""
        cell = self.evidence.cell
        return (
            slice(-(-region.top // cell), _cells_to(region.bottom, cell, self.evidence.height)),
            slice(-(-region.left // cell), _cells_to(region.right, cell, self.evidence.width)),
        )

    def _value(self, plan: Plan) -> float:
        """How many more objects a plan finds than the full frame alone, less what its canvases must bring."""
        scales = np.maximum(self._scales_of(plan.regions), np.float32(1e-3))
        share = self._found(self.sizes[:, None], scales) - self.already[:, None]
        found = float((self.evidence.mass * np.maximum(share, 0)).sum())
        return found - self.settings.worth * self.expected * plan.canvases

    def _offer(self, size: float) -> _Offer:
        """What showing the objects of every cell with `size` canvas pixels costs and brings, best first."""
        mass = self.evidence.mass
        scale = np.clip(np.float32(size) / self.sizes, self.least_scale, _LARGEST_SCALE)
        more = self._found(self.sizes, scale) - self.already
        area = np.square(scale * np.float32(self.evidence.cell))
        worth = (mass * (more / area)[:, None]).ravel()
        useful = np.flatnonzero(worth > self.by_pixel)
        order = useful[np.argsort(-worth[useful], kind="stable")]
        spent = np.cumsum(area[order // mass.shape[1]])
        return _Offer(size, scale, order, worth[order], spent)

    def _best_offer(self, room: float) -> tuple[float, _Offer, int]:
        """What the best cells of at most `room` canvas pixels bring, the offer that they are of, how many."""
        best, chosen, count = -1.0, self.offers[0], 0
        for offer in self.offers:
            affordable = int(np.searchsorted(offer.spent, room, side="right"))
            areas = np.diff(offer.spent[:affordable], prepend=0)
            net = float(areas @ (offer.worth[:affordable] - np.float32(self.by_pixel)))
            if net > best:
                best, chosen, count = net, offer, affordable
        return best, chosen, count

    def _choose(self, threshold: float | None, room: float) -> _Choice:
        """The wanted cells of at most `room` canvas pixels, at the size that brings most."""
        _, chosen, count = self._best_offer(room)
        mass = self.evidence.mass
        wanted = np.zeros(mass.size, bool)
        wanted[chosen.order[:count]] = True
        if threshold is not None:
            wanted &= mass.ravel() >= threshold
        margin = self.settings.margin
        prices = Prices(
            scales=(chosen.scale * np.float32(self.evidence.cell)).tolist(),
            around=2 * margin + self.settings.gutter,
            largest=(
                _SQUEEZE * self.canvas[1] + self.settings.gutter,
                _SQUEEZE * self.canvas[0] + self.settings.gutter,
            ),
        )
        return _Choice(
            wanted=wanted.reshape(mass.shape),
            prices=prices,
            scale=chosen.scale,
            margin=margin,
            is_everything=count == len(chosen.order),
            threshold=threshold if threshold is not None else _least(mass.ravel()[wanted], float(mass.max())),
        )

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
        first = 0 if self.taken is None else 1
        places = _most_that_fit(
            [sizes[i] for i in order],
            canvas=self.canvas,
            limit=self.limit + first,
            gutter=self.settings.gutter,
            taken=self.taken,
        )
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
            canvases=max(canvases_of(regions) - first, 0),
            limit=self.limit,
            threshold=choice.threshold,
            expected=self.expected,
            covered=sum(region.mass for region in regions),
            left_out=tuple(left_out),
            shares_full=self.taken is not None,
        )

    def _size_on_canvas(self, frame: tuple[int, int, int, int], scale: float) -> tuple[int, int]:
        wide, high = frame[2] - frame[0], frame[3] - frame[1]
        scale = min(scale, self.canvas[1] / wide, self.canvas[0] / high)
        return max(int(wide * scale), 1), max(int(high * scale), 1)


def _most_that_fit(
    sizes: Sequence[tuple[int, int]],
    *,
    canvas: tuple[int, int],
    limit: int,
    gutter: int,
    taken: tuple[int, int] | None,
) -> list[tuple[int, int, int] | None]:
    """Places for the sizes, the most rewarding first in their order: if not all fit, the last are tried last.

    The packer itself goes by height. So the longest row of first ones that fits is packed, and then what
    still finds a place of the rest.
    """
    places = pack(sizes, canvas=canvas, limit=limit, gutter=gutter, taken=taken)
    missing = [index for index, place in enumerate(places) if place is None]
    if not missing:
        return places
    # Leaving out about as much area as found no place, from the end, usually lets the others fit.
    lacking = sum(sizes[i][0] * sizes[i][1] for i in missing)
    count = len(sizes)
    while count > 1 and lacking > 0:
        count -= 1
        lacking -= sizes[count][0] * sizes[count][1]
    first = pack(sizes[:count], canvas=canvas, limit=limit, gutter=gutter, then=sizes[count:], taken=taken)
    kept = sum(sizes[i][0] * sizes[i][1] for i in range(count) if places[i] is not None)
    kept_now = sum(sizes[i][0] * sizes[i][1] for i in range(count) if first[i] is not None)
    return first if kept_now > kept else places
