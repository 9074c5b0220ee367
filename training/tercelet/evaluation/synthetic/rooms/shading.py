"""From hits to a colour picture: a lamp below the ceiling and its shadows, light from all round, textures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.rooms.palette import CARPETS, WALLS, WOODS, one_of
from tercelet.evaluation.synthetic.rooms.rendering import SHELL, Camera, Floats, Hits, cast, local_axes
from tercelet.evaluation.synthetic.rooms.solids import Colour, Finish, Shape, Solids

Rng = np.random.Generator

_SHADOW_SIDE = 512
_SHADOW_FOCAL = 0.42  # of the side: the lamp's map sees 100 degrees
# The map is coarse: a point is looked up a little off its own surface.
_BIAS_M, _OFFSET_M = 0.02, np.float32(0.05)
_NEAR_FACE = 0.999


@dataclass(frozen=True)
class Look:
    """Colours and light of a room. lamp: x, y, z in the room. lamp_light, ambient: brightness.
    warm: towards red. board: height of the skirting board, metres. exposure: factor on everything."""

    wall: Colour
    accent: Colour
    floor: Colour
    floor_finish: Finish
    lamp: tuple[float, float, float]
    lamp_light: float
    ambient: float
    warm: float
    board: float
    exposure: float


def drawn_look(rng: Rng, size: tuple[float, float, float], *, tiled: bool) -> Look:
    """size: width, depth and height of the room. tiled: as bathrooms are."""
    wall = one_of(rng, WALLS)
    accent = one_of(rng, WALLS) if rng.random() < 0.4 else wall
    kinds = ((Finish.TILES, WALLS),) if tiled else ((Finish.PLANKS, WOODS), (Finish.FABRIC, CARPETS))
    finish, colours = kinds[int(rng.integers(len(kinds)))]
    return Look(
        wall=wall,
        accent=accent,
        floor=one_of(rng, colours),
        floor_finish=finish,
        lamp=(size[0] * rng.uniform(0.35, 0.65), size[1] * rng.uniform(0.35, 0.65), size[2] - 0.12),
        lamp_light=rng.uniform(0.55, 0.8),
        ambient=rng.uniform(0.34, 0.46),
        warm=rng.uniform(-0.02, 0.07),
        board=rng.uniform(0.06, 0.1),
        exposure=rng.uniform(0.9, 1.08),
    )


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Of each pixel, in the room's frame, metres. points, normals, local (in the solid's frame): (3, H, W).
    colours: (3, H, W) red, green, blue before light. finish: (H, W) uint8. facing: (H, W) cosine between the
    normal and the view."""

    points: Floats
    normals: Floats
    local: Floats
    colours: Floats
    finish: NDArray[np.uint8]
    facing: Floats


def surfaces(
    solids: Solids, hits: Hits, directions: Floats, eye: Floats, size: Floats, look: Look
) -> Surfaces:
    """What the rays hit. solids: in the room's frame. eye, size: (3,) float32 camera and room."""
    seen = directions * hits.depth
    points = seen + eye[:, None, None]
    is_solid = hits.solids != SHELL
    rows = np.flatnonzero(is_solid)
    number = hits.solids.reshape(-1)[rows]
    flat = points.reshape(3, -1)
    normals, local, colours = (np.empty_like(flat) for _ in range(3))
    finish = np.empty(flat.shape[1], np.uint8)
    shell = np.flatnonzero(~is_solid)
    normals[:, shell], colours[:, shell], finish[shell] = _shell(flat[:, shell], size, look)
    local[:, shell] = flat[:, shell]
    normals[:, rows], local[:, rows] = _on_solids(solids, number, flat[:, rows])
    colours[:, rows], finish[rows] = solids.colours[number].T, solids.finishes[number]
    shape = hits.depth.shape
    length = np.sqrt((directions * directions).sum(axis=0))
    facing = np.abs((normals.reshape(3, *shape) * directions).sum(axis=0)) / length
    return Surfaces(points, normals.reshape(3, *shape), local.reshape(3, *shape), colours.reshape(3, *shape),
                    finish.reshape(shape), facing)  # fmt: skip


def _shell(points: Floats, size: Floats, look: Look) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Normals, colours and finishes of floor, ceiling and walls; a skirting board round the floor."""
    gaps = np.stack(
        [points[0], size[0] - points[0], points[1], size[1] - points[1], points[2], size[2] - points[2]]
    )
    face = np.abs(gaps).argmin(axis=0)
    inward = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    ceiling = (0.93, 0.93, 0.92)
    colour_of = np.array([look.wall, look.wall, look.wall, look.accent, look.floor, ceiling], np.float32)
    finish_of = np.array([Finish.PLAIN] * 4 + [look.floor_finish, Finish.PLAIN], np.uint8)
    if look.floor_finish is Finish.TILES:
        finish_of[:4] = Finish.TILES
    colours = colour_of[face].T.copy()
    board = (face < 4) & (points[2] < look.board)
    colours[:, board] = np.array([[0.88], [0.87], [0.85]], np.float32)
    finish = finish_of[face]
    finish[board] = Finish.PLAIN
    return inward[face].T, colours, finish


def _on_solids(solids: Solids, number: NDArray[np.int16], points: Floats) -> tuple[Floats, Floats]:
    """Normals in the room's frame and places in the solids' frames, (3, n)."""
    yaw, half = solids.yaws[number], solids.halves[number].T
    offset = points - solids.centres[number].T
    x, y = local_axes(yaw, offset[0], offset[1])
    local = np.stack((x, y, offset[2]))
    unit = local / half
    shape = solids.shapes[number]
    axis = np.abs(unit).argmax(axis=0)
    normal = np.zeros_like(unit)
    columns = np.arange(len(number))
    normal[axis, columns] = np.sign(unit[axis, columns])
    is_side = (shape == Shape.CYLINDER) & (np.abs(unit[2]) < _NEAR_FACE)
    normal[:, is_side] = (unit / half)[:, is_side]
    normal[2, is_side] = 0
    is_cap = (shape == Shape.CYLINDER) & ~is_side
    normal[:, is_cap] = 0
    normal[2, is_cap] = np.sign(unit[2, is_cap])
    is_ball = shape == Shape.ELLIPSOID
    normal[:, is_ball] = (unit / half)[:, is_ball]
    normal /= np.maximum(np.sqrt((normal * normal).sum(axis=0)), 1e-6)
    nx, ny = local_axes(-yaw, normal[0], normal[1])
    return np.stack((nx, ny, normal[2])), local


def picture(
    rng: Rng, surface: Surfaces, hits: Hits, solids: Solids, size: Floats, look: Look
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR."""
    lamp = np.array(look.lamp, np.float32)
    to_lamp = lamp[:, None, None] - surface.points
    far = np.sqrt((to_lamp * to_lamp).sum(axis=0))
    lambert = np.clip((surface.normals * to_lamp).sum(axis=0) / far, 0, 1)
    lit = _lit_share(surface.points + _OFFSET_M * surface.normals, solids, lamp, size)
    light = look.lamp_light * lambert * lit * (1.35 / (0.6 + 0.18 * far * far)).clip(0, 1.3)
    # From all round: more from above than from below, less in corners.
    around = look.ambient * (0.92 + 0.16 * surface.normals[2] + 0.08 * surface.normals[0])
    light = light + around * _openness(surface.points, surface.normals, hits, size)
    glow = surface.finish == Finish.GLOW
    light = np.where(glow, 1.12, light)
    shades = surface.colours * _texture(surface)
    tint = np.array([1 + look.warm, 1.0, 1 - look.warm], np.float32)[:, None, None]
    linear = np.clip(shades * light * tint * look.exposure * 1.12, 0, None)
    shown = linear / (1 + 0.18 * linear * linear)
    grey = 255 * np.clip(shown, 0, 1) ** np.float32(0.87)
    grey = _soften(grey) + rng.normal(0, 2.0, grey.shape).astype(np.float32)
    return np.ascontiguousarray(grey[::-1].transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8))


def _lit_share(points: Floats, solids: Solids, lamp: Floats, size: Floats) -> Floats:
    """(H, W) how much of the lamp each point sees, from a map of what the lamp sees."""
    axes = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns right, forward (down), up
    side, middle = _SHADOW_SIDE, (_SHADOW_SIDE - 1) / 2
    eye = Camera(side, side, (side * _SHADOW_FOCAL,) * 2, (middle, middle), axes)
    seen = cast(solids.seen_from(lamp), eye, eye.directions(), (-lamp, size - lamp)).depth
    below = lamp[2] - points[2]
    safe = np.maximum(below, 0.05)
    column = middle + side * _SHADOW_FOCAL * (points[0] - lamp[0]) / safe
    row = middle - side * _SHADOW_FOCAL * (points[1] - lamp[1]) / safe
    inside = (column > 1) & (column < side - 2) & (row > 1) & (row < side - 2) & (below > 0.05)
    share = np.zeros(below.shape, np.float32)
    for step_x, step_y in ((-0.7, -0.7), (0.7, -0.7), (-0.7, 0.7), (0.7, 0.7), (0, 0)):
        x = np.clip(column + step_x, 0, side - 1).astype(np.int32)
        y = np.clip(row + step_y, 0, side - 1).astype(np.int32)
        share += below < seen[y, x] + _BIAS_M
    lit: Floats = np.where(inside, share / 5, np.float32(1))
    return lit


def _openness(points: Floats, normals: Floats, hits: Hits, size: Floats) -> Floats:
    """(H, W) share of the light from all round that reaches a point: little in corners and near the floor."""
    open_share = np.ones(points.shape[1:], np.float32)
    for axis in range(3):
        across = np.float32(1) - np.abs(normals[axis])
        for gap in (points[axis], size[axis] - points[axis]):
            open_share *= 1 - np.float32(0.30) * across * np.exp(-np.maximum(gap, 0) / np.float32(0.22))
    # A pixel that lies behind its neighbourhood is in a nook.
    mean = _box_mean(hits.depth, 12)
    nook = np.clip((hits.depth - mean) / 0.35, 0, 1)
    open_share *= 1 - np.float32(0.28) * nook
    return open_share


def _box_mean(values: Floats, radius: int) -> Floats:
    """(H, W) mean over a square, edges repeated."""
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float64)
        width = 2 * radius + 1
        high = np.take(total, range(width, total.shape[axis]), axis=axis)
        low = np.take(total, range(total.shape[axis] - width), axis=axis)
        values = ((high - low) / width).astype(np.float32)
    return values


def _texture(surface: Surfaces) -> Floats:
    """(H, W) factor on colours."""
    factor = np.ones(surface.finish.shape, np.float32)
    x, y, z = surface.local
    wood = surface.finish == Finish.WOOD
    # Grain runs along y on lying and standing faces alike; paint, which has little colour, hides it.
    tinted = surface.colours[:, wood]
    most = tinted.max(axis=0)
    strength = np.clip(2.5 * (most - tinted.min(axis=0)) / most - 0.2, 0, 1)
    across = x[wood] + z[wood]
    coarse = 0.07 * np.sin(across * 95 + 2.2 * np.sin(y[wood] * 5.1 + across * 17))
    factor[wood] = 1 + strength * (coarse + 0.03 * np.sin(across * 310 + y[wood] * 3))
    fabric = surface.finish == Finish.FABRIC
    factor[fabric] = 1 + 0.05 * _hashed(x[fabric], y[fabric], z[fabric], 90)
    planks = surface.finish == Finish.PLANKS
    px, py = x[planks], y[planks]
    row = np.floor(px / 0.14)
    shift = (row * 0.37) % 1.0
    board = _hashed(row, np.floor(py / 1.1 + shift), row * 0, 1)
    seam = (np.abs(px / 0.14 - np.round(px / 0.14)) < 0.02) | (
        np.abs(py / 1.1 + shift - np.round(py / 1.1 + shift)) < 0.004
    )
    grain = 0.04 * np.sin(px * 260 + 1.5 * np.sin(py * 6 + row))
    factor[planks] = (1 + 0.13 * board + grain) * np.where(seam, 0.62, 1)
    tiles = surface.finish == Finish.TILES
    normals = np.abs(surface.normals[:, tiles])
    lines = np.zeros(normals.shape[1], bool)
    for axis in range(3):
        place = surface.local[axis][tiles] / np.float32(0.3)
        lines |= (np.abs(place - np.round(place)) < 0.014) & (normals[axis] < 0.5)
    factor[tiles] = np.where(lines, 0.74, 1)
    return factor


def _hashed(x: Floats, y: Floats, z: Floats, scale: float) -> Floats:
    """-1..1, the same wherever floor(scale * (x, y, z)) is the same."""
    a, b, c = (np.floor(value * scale).astype(np.int64) for value in (x, y, z))
    mixed = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    spread: Floats = (((mixed >> 8) & 0xFFFF) / 32767.5 - 1).astype(np.float32)
    return spread


def _soften(values: Floats) -> Floats:
    """(3, H, W) with a lens's blur: 1 6 1 in both directions."""
    for axis in (1, 2):
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[axis] = (1, 1)
        wide = np.pad(values, padding, mode="edge")
        first, last = (np.take(wide, range(s, s + values.shape[axis]), axis=axis) for s in (0, 2))
        values = (first + 6 * values + last) / np.float32(8)
    return values
