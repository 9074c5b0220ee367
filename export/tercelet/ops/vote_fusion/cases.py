"""The case table of VoteFusion: every rule of the op once in both modes, and the size it has in ImVoteNet."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Case

Array = NDArray[np.float32]
WIDTH, HEIGHT = 730, 530
SCALE = (1.1315068, 1.1320755)
FOCAL, CENTRE = 529.5, (365.0, 265.0)
_TILT = 0.17
# Seeds lie at most this far from the middle of a pixel, so that a last bit does not move one to the next.
_OFF_MIDDLE = 0.3


@dataclass(frozen=True)
class Row:
    """One row. edge: what is done to the inputs after they are drawn, a key of `EDGES`."""

    name: str
    seeds: int
    boxes: int
    edge: str = ""
    layer: str = ""


ROWS: tuple[Row, ...] = (
    Row("one seed, one box", 1, 1),
    Row("no boxes", 33, 0),
    Row("no seeds", 0, 4),
    Row("nothing at all", 0, 0),
    Row("one box", 70, 1),
    Row("two boxes", 70, 2),
    Row("three boxes", 70, 3),
    Row("many boxes over each other", 300, 40),
    Row("equal confidences", 200, 12, "equal"),
    Row("all boxes are padding", 64, 9, "padding"),
    Row("boxes and padding", 64, 9, "half padding"),
    Row("confidence exactly 1", 90, 6, "certain"),
    Row("impossible confidences", 90, 6, "impossible"),
    Row("classes there are not", 90, 6, "strange classes"),
    Row("inverted boxes", 90, 6, "inverted"),
    Row("boxes outside the picture", 90, 6, "outside"),
    Row("boxes larger than the picture", 90, 6, "huge"),
    Row("broken boxes", 90, 6, "broken boxes"),
    Row("behind the camera", 90, 6, "behind"),
    Row("at the camera", 40, 6, "at camera"),
    Row("broken seeds", 90, 6, "broken seeds"),
    Row("mirrored picture", 120, 6, "mirrored"),
    Row("cut out of a picture", 120, 6, "cut"),
    Row("turned, scaled and moved cloud", 120, 6, "moved"),
    Row("singular matrix", 40, 6, "singular"),
    Row("1024 seeds, 100 boxes", 1024, 100, layer="image votes"),
)


def cases() -> Sequence[Case]:
    """The rows in both modes; the same on every machine and in every process."""
    return [case_of(row, mode) for row in ROWS for mode in _modes_of(row)]


def _modes_of(row: Row) -> tuple[str, ...]:
    """Where upstream's numbers are undefined there is nothing to be equal to."""
    return ("safe",) if row.edge in ("impossible", "broken boxes", "singular") else ("safe", "parity")


def case_of(row: Row, mode: str) -> Case:
    """A row with its arrays drawn."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(row.name.encode())))
    inputs = drawn(generator, row.seeds, row.boxes)
    if row.edge:
        EDGES[row.edge](generator, inputs)
    arrays = tuple(np.ascontiguousarray(array, np.float32) for array in inputs.arrays())
    return Case(f"{row.name}, {mode}", arrays, {"mode": mode}, row.layer)


@dataclass
class Inputs:
    """The inputs of a case while an edge is made."""

    seeds: Array
    texture: Array
    boxes: Array
    depth2img: Array
    picture: Array

    def arrays(self) -> tuple[Array, ...]:
        """In the order of the specification."""
        return self.seeds, self.texture, self.boxes, self.depth2img, self.picture


def drawn(generator: np.random.Generator, seeds: int, boxes: int) -> Inputs:
    """A camera that looks slightly down, seeds 0.5 to 6 m before it, boxes with falling confidence."""
    matrix = camera()
    pixels = np.floor(generator.random((seeds, 2)) * (WIDTH, HEIGHT))
    pixels += generator.uniform(-_OFF_MIDDLE, _OFF_MIDDLE, (seeds, 2)) + 1  # pixels are counted from 1
    depth = generator.uniform(0.5, 6, (seeds, 1))
    points = np.concatenate((pixels * depth, depth), 1) @ np.linalg.inv(matrix).T
    low = generator.random((boxes, 2)) * (WIDTH * 0.7, HEIGHT * 0.7) * np.array(SCALE)
    side = generator.uniform(20, 400, (boxes, 2))
    confidence = -np.sort(-generator.uniform(0.1, 0.99, (boxes, 1)), 0)
    table = np.concatenate((low, low + side, confidence, generator.integers(0, 10, (boxes, 1))), 1)
    picture = np.array([[SCALE[0], 0, 826], [SCALE[1], 0, 600]])
    texture = generator.uniform(-0.5, 0.6, (seeds, 3))
    made = (points, texture, table, np.pad(matrix, ((0, 0), (0, 1))), picture)
    return Inputs(*(array.astype(np.float32) for array in made))


def camera() -> NDArray[np.float64]:
    """depth2img (3, 3) of a camera that looks along y, tilted a little."""
    intrinsic = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    cosine, sine = np.cos(_TILT), np.sin(_TILT)
    tilt = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix: NDArray[np.float64] = intrinsic @ axes @ tilt
    return matrix


def _equal(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[:, 4] = 0.5


def _padding(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[:] = 0


def _half_padding(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[len(given.boxes) // 2 :] = 0


def _certain(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[::2, 4] = 1


def _impossible(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[:, 4] = (np.nan, 7, -3, 0.5, np.inf, -np.inf)


def _strange_classes(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[:, 5] = (-1, 10, 3.5, 1e9, 9, 0)


def _inverted(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[::2, :4] = given.boxes[::2, [2, 3, 0, 1]]


def _outside(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[::2, [0, 2]] += 2000


def _huge(_: np.random.Generator, given: Inputs) -> None:
    given.boxes[:, :4] = (-5000, -5000, 9000, 9000)
    given.seeds[::3] += np.array([9, 0.1, 0], np.float32)


def _broken_boxes(generator: np.random.Generator, given: Inputs) -> None:
    given.boxes[generator.random(given.boxes.shape) < 0.3] = np.nan
    given.boxes[0] = (20, 20, np.inf, np.inf, 0.9, 3)
    given.boxes[1] = (-np.inf, 0, 500, 400, 0.8, 2)
    given.boxes[2] = (-3e38, -3e38, 3e38, 3e38, 0.7, 1)


def _behind(_: np.random.Generator, given: Inputs) -> None:
    given.seeds[::2] *= -1


def _at_camera(_: np.random.Generator, given: Inputs) -> None:
    given.seeds[::4] = 0
    given.seeds[1::4, 1] = -np.tan(_TILT) * given.seeds[1::4, 2]


def _broken_seeds(_: np.random.Generator, given: Inputs) -> None:
    given.seeds[::5, 0] = np.nan
    given.seeds[1::5, 2] = np.inf
    given.seeds[2::5, 1] = -np.inf


def _mirrored(_: np.random.Generator, given: Inputs) -> None:
    given.picture[0] = (-SCALE[0], 826, 826)


def _cut(_: np.random.Generator, given: Inputs) -> None:
    given.picture[:] = ((SCALE[0], -100, 600), (SCALE[1], -40, 500))


def _moved(_: np.random.Generator, given: Inputs) -> None:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * 1.1
    shift = np.array([0.3, -0.2, 0.1])
    given.seeds = (given.seeds @ turn.T + shift).astype(np.float32)
    matrix = camera() @ np.linalg.inv(turn)
    given.depth2img = np.concatenate((matrix, -(matrix @ shift)[:, None]), 1).astype(np.float32)


def _singular(_: np.random.Generator, given: Inputs) -> None:
    given.depth2img[1] = given.depth2img[0]


EDGES: dict[str, Callable[[np.random.Generator, Inputs], None]] = {
    "equal": _equal,
    "padding": _padding,
    "half padding": _half_padding,
    "certain": _certain,
    "impossible": _impossible,
    "strange classes": _strange_classes,
    "inverted": _inverted,
    "outside": _outside,
    "huge": _huge,
    "broken boxes": _broken_boxes,
    "behind": _behind,
    "at camera": _at_camera,
    "broken seeds": _broken_seeds,
    "mirrored": _mirrored,
    "cut": _cut,
    "moved": _moved,
    "singular": _singular,
}
