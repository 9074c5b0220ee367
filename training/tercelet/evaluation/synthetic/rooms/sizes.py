"""How large a piece of furniture is drawn: about the mean of its class in SUN RGB-D."""

from __future__ import annotations

import numpy as np

from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES

# Standard deviation of the logarithm of each side, and where it is cut off.
_SPREAD = {"table": 0.22, "desk": 0.16, "dresser": 0.18, "bookshelf": 0.20, "sofa": 0.13}
_OTHERS = 0.10
_CUT = 1.8


def drawn_size(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    """dx (front to back), dy (side to side), dz in metres of one piece of that class, log-normal about the
    mean of its class."""
    means = np.array(SUNRGBD_MEAN_SIZES[SUNRGBD_CLASSES.index(name)])
    spread = _SPREAD.get(name, _OTHERS)
    dx, dy, dz = (means * np.exp(spread * np.clip(rng.standard_normal(3), -_CUT, _CUT))).tolist()
    return dx, dy, dz
