"""Plan `dmnet` as the pipeline uses it: each box of DMNet's rule alone on a canvas, the fullest first."""

from __future__ import annotations

import numpy as np

from tercelet.contract.density import DensityMap
from tercelet.contract.plan import Plan
from tercelet.runtime.planning.dmnet import THRESHOLD, plan_dmnet
from tercelet.runtime.planning.grid import region_on_own_canvas


def plan_dmnet_regions(
    density: DensityMap, *, canvas: tuple[int, int], limit: int, threshold: float | None = None
) -> Plan:
    """The boxes of `plan_dmnet` as regions on at most `limit` canvases of (height, width) pixels.

    threshold: objects in a window, None for DMNet's own. Raises InputError for a density that is not finite.
    """
    least = THRESHOLD if threshold is None else threshold
    boxes = plan_dmnet(density, threshold=least)
    masses = density.window_sum(boxes)
    order = np.argsort(-masses, kind="stable").tolist()
    regions = []
    for number, index in enumerate(order[:limit]):
        left, top, right, bottom = boxes[index].tolist()
        region = region_on_own_canvas((left, top, right, bottom), number, canvas, enlarge=True)
        regions.append(region._replace(mass=float(masses[index])))
    return Plan(
        name="dmnet",
        regions=tuple(regions),
        canvases=len(regions),
        limit=limit,
        threshold=least,
        expected=density.count,
        # Boxes may overlap, and what two of them hold is there once.
        covered=min(sum(region.mass for region in regions), density.count),
        left_out=tuple(tuple(boxes[index].tolist()) for index in order[limit:]),
    )
