"""VoteFusion: what the boxes of a picture say about points of a cloud, up to three votes a point.

Paper: Qi et al., "ImVoteNet: Boosting 3D Object Detection in Point Clouds with Image Votes", CVPR 2020.
Semantics in mode "parity" as mmdetection3d computes them (Apache-2.0), the translation that its augmentation
adds to displacements included. Nothing is copied. The edges of mode "safe" are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.vote_fusion.cases import cases

MODES = ("safe", "parity")
SLOTS = 3
"""Votes of a seed at most."""
CLASSES = 10
ROWS = 5 + CLASSES + 3
"""Numbers of a vote: offset x and z, ray x, y, z, confidence at its class, texture."""
NEAREST = 1e-3
"""Metres from the plane of the camera within which nothing is seen, in mode safe."""
TINY = 1e-6
SINGULAR = 1e-5
"""Part of its terms that a determinant must exceed, in mode safe."""
FARTHEST = 1e7
"""Pixels from the origin within which the corners of a box must lie, in mode safe."""
MOST_SEEDS = 1 << 20
MOST_BOXES = 1 << 16
Array = NDArray[np.float32]


def vote_fusion_reference(
    seeds: Array, texture: Array, boxes: Array, depth2img: Array, picture: Array, *, mode: str = "safe"
) -> tuple[Array, Array]:
    """cues (18, 3n) and mask (3n) of 0 and 1, column j * n + i being vote j of seed i, the best vote first.

    seeds (n, 3) metres. texture (n, 3), the pixel of each seed. boxes (K, 6) x1, y1, x2, y2 in pixels of the
    picture as the 2D detector saw it, confidence, class; rows of zeros are no boxes. depth2img (3, 4) from
    metres to pixels counted from 1, before the division by depth. picture (2, 3), for columns and then rows
    of pixels: scale and offset from a pixel of the original picture to one of the picture as the detector saw
    it, and its size. All float32. README.md has the rules. Raises InputError for shapes that do not fit.
    """
    given = (seeds, texture, boxes, depth2img, picture)
    dims = SPEC.bind([array.shape for array in given], {"mode": mode})
    is_safe = mode == "safe"
    x, y, z = seeds.T
    boxes = np.concatenate((boxes, np.zeros((SLOTS, 6), np.float32)))
    with np.errstate(all="ignore"):
        u, v, depth = _projected(seeds, depth2img)
        cofactors, determinant, is_invertible = _inverse(depth2img)
        lows, highs = _original_corners(boxes, picture)
        if is_safe:
            is_near = (lows > np.float32(-FARTHEST)) & (highs < np.float32(FARTHEST))
            highs = np.where(is_near, highs, np.float32(-FARTHEST))
        confidence = np.where(boxes[:, 4] > 0, np.minimum(boxes[:, 4], 1), 0) if is_safe else boxes[:, 4]
        is_seen = _is_seen(u, v, depth, picture) & is_invertible if is_safe else np.ones(len(u), bool)
        is_in = is_seen[:, None] & _is_inside(u[:, None], v[:, None], lows.T, highs.T)
        score = is_in * (1 + confidence) if is_safe else is_in + confidence
        best = np.argsort(-score.astype(np.float32), axis=1, kind="stable")[:, :SLOTS].T  # (3, n)
        is_hit = np.take_along_axis(is_in, best.T, 1).T
        move = _displacement((lows + highs)[best] * np.float32(0.5), u, v, depth, cofactors, determinant)
        if not is_safe:
            move = [m - s for m, s in zip(move, _moved(depth2img[:, 3], cofactors, determinant), strict=True)]
        place = [x + move[0], y + move[1], z + move[2]]
        length = np.sqrt(place[0] * place[0] + place[1] * place[1] + place[2] * place[2] + np.float32(TINY))
        ray = [part / length for part in place]
        slope = ray[1] + np.float32(TINY)
        if is_safe:
            slope = np.where(np.abs(slope) < TINY, np.float32(TINY), slope)
        offsets = [ray[0] / slope * y - x, ray[2] / slope * y - z]
        named = [np.where(boxes[best, 5] == k, confidence[best], 0) for k in range(CLASSES)]
    geometric = [np.where(is_hit, row, 0) for row in (*offsets, *ray, *named)]
    textures = [np.broadcast_to(row, is_hit.shape) for row in texture.T]
    mask = is_hit if is_safe else np.floor(np.take_along_axis(score, best.T, 1).T) > 0
    if not is_safe and not dims["K"]:
        mask = np.broadcast_to(np.arange(SLOTS)[:, None] == 0, is_hit.shape)
    cues = np.stack((*geometric, *textures)).reshape(ROWS, SLOTS * dims["n"])
    return cues.astype(np.float32), mask.reshape(-1).astype(np.float32)


def _projected(seeds: Array, depth2img: Array) -> tuple[Array, Array, Array]:
    """Column and row of the original picture (n), whole numbers from 0, half to even; depth (n) in metres."""
    x, y, z = seeds.T
    u, v, depth = (((m[0] * x + m[1] * y) + m[2] * z) + m[3] for m in depth2img)
    one = np.float32(1)
    return np.rint(u / depth - one), np.rint(v / depth - one), depth


def _inverse(depth2img: Array) -> tuple[Array, np.float32, np.bool_]:
    """Of the left part: cofactors (3, 3), row i of them going with row i of the matrix, determinant, and
    whether that is more than what rounding leaves."""
    m = depth2img[:, :3]
    after, before = np.roll(m, -1, 0), np.roll(m, 1, 0)
    cofactors = np.roll(after, -1, 1) * np.roll(before, 1, 1) - np.roll(after, 1, 1) * np.roll(before, -1, 1)
    products = m[0] * cofactors[0]
    sizes = np.abs(products)
    determinant = (products[0] + products[1]) + products[2]
    is_invertible = np.abs(determinant) > np.float32(SINGULAR) * ((sizes[0] + sizes[1]) + sizes[2])
    return cofactors, determinant, is_invertible


def _original_corners(boxes: Array, picture: Array) -> tuple[Array, Array]:
    """Lower and upper corners (K, 2) in pixels of the original picture; a mirrored axis exchanges them."""
    scale, offset = picture[:, 0], picture[:, 1]
    first, second = (boxes[:, :2] - offset) / scale, (boxes[:, 2:4] - offset) / scale
    return np.where(scale < 0, second, first), np.where(scale < 0, first, second)


def _is_seen(u: Array, v: Array, depth: Array, picture: Array) -> NDArray[np.bool_]:
    """Whether seeds (n) lie before the camera and inside the picture."""
    column, row = (p * line[0] + line[1] for p, line in ((u, picture[0]), (v, picture[1])))
    is_within = (column >= 0) & (column <= picture[0, 2]) & (row >= 0) & (row <= picture[1, 2])
    seen: NDArray[np.bool_] = is_within & (depth > np.float32(NEAREST))
    return seen


def _is_inside(u: Array, v: Array, lows: Array, highs: Array) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (u > lows[0]) & (v > lows[1]) & (u < highs[0]) & (v < highs[1])
    return inside


def _displacement(
    centres: Array, u: Array, v: Array, depth: Array, cofactors: Array, determinant: np.float32
) -> list[Array]:
    """x, y, z (3, n) in metres from a seed to the centre (3, n, 2) of a box, at the depth of the seed."""
    across, down = (centres[..., 0] - u) * depth, (centres[..., 1] - v) * depth
    return [(across * cofactors[0, k] + down * cofactors[1, k]) / determinant for k in range(3)]


def _moved(vector: Array, cofactors: Array, determinant: np.float32) -> list[np.float32]:
    """The inverse of the matrix times a vector (3)."""
    columns = [vector * cofactors[:, k] for k in range(3)]
    return [((column[0] + column[1]) + column[2]) / determinant for column in columns]


def check_vote_fusion(dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    for symbol, most, what in (("n", MOST_SEEDS, "seeds"), ("K", MOST_BOXES, "boxes")):
        if dims[symbol] > most:
            return f"{what}: expected at most {most}, got {dims[symbol]}"
    return None


SPEC = OpSpec(
    name="VoteFusion",
    folder="vote_fusion",
    summary="what the boxes of a picture say about points of a cloud, up to three votes a point",
    inputs=(
        Operand("seeds", ("n", 3), "metres"),
        Operand("texture", ("n", 3), "the pixel of each seed, as the network takes pixels"),
        Operand("boxes", ("K", 6), "x1, y1, x2, y2 in pixels as the detector saw them, confidence, class"),
        Operand("depth2img", (3, 4), "from metres to pixels counted from 1, before the division by depth"),
        Operand(
            "picture", (2, 3), "for columns, then rows: scale and offset from original pixels, and the size"
        ),
    ),
    outputs=(
        Operand("cues", (ROWS, "3*n"), "offset x and z, ray x, y, z, confidence at its class, texture"),
        Operand("mask", ("3*n",), "1 where there is a vote, else 0"),
    ),
    attributes=(
        Attribute(
            "mode", "string", "what happens at the edges; parity is for published weights", "safe", MODES
        ),
    ),
    reference=vote_fusion_reference,
    cases=cases,
    check=check_vote_fusion,
)
