"""Whether the pictures of a data set can be read, and which of them are the same file."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import DatasetImage
from tercelet.evaluation.datasets.pictures import picture_size
from tercelet.evaluation.evaluating import read_frame
from tercelet.training.dataset_checks.report import Problem

# Cameras and editors append data after the end of a JPEG; the end is looked for in this many last bytes.
_TAIL = 1 << 16
_END_OF_JPEG = b"\xff\xd9"
_END_OF_PNG = b"IEND"


def picture_problems(
    images: Sequence[DatasetImage], *, decode: bool, workers: int
) -> Iterator[Problem | None]:
    """For each image in order its problem, or None.

    decode: decode each one whole; else only those whose end does not look like one. workers: threads.
    """
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        yield from pool.map(lambda image: _problem_of(image, decode=decode), images)


def _problem_of(image: DatasetImage, *, decode: bool) -> Problem | None:
    where = str(image.path)
    if not image.path.is_file():
        return Problem("missing picture", where, f"{where}: expected a picture, got nothing there")
    try:
        width, height = picture_size(image.path)
        if (width, height) == (image.width, image.height):
            if decode or not _ends(image.path):
                read_frame(image)
            return None
    except (InputError, OSError) as error:
        return Problem("unreadable picture", where, str(error))
    text = (
        f"{where}: expected {image.width}x{image.height} pixels, as the data set states, got {width}x{height}"
    )
    return Problem("size mismatch", where, text)


def _ends(path: Path) -> bool:
    """Whether a JPEG or PNG file ends as one; False for other kinds."""
    with path.open("rb") as file:
        head = file.read(2)
        file.seek(-min(_TAIL, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    mark = {b"\xff\xd8": _END_OF_JPEG, b"\x89P": _END_OF_PNG}.get(head)
    return mark is not None and mark in tail


def same_pictures(images: Sequence[DatasetImage], against: Sequence[DatasetImage]) -> Iterator[Problem]:
    """A problem for each picture whose bytes are those of an earlier one, or of one in `against`.

    Only files of equal length are read.
    """
    names = dict.fromkeys(image.path for image in images)
    others = dict.fromkeys(image.path for image in against)
    if len(names) < len(images):
        yield from _listed_twice(images)
    for group in _equal_files([*names, *(path for path in others if path not in names)]):
        own = [path for path in group if path in names]
        elsewhere = [path for path in group if path not in names]
        for path in own[1:]:
            yield Problem("same picture twice", str(path), f"{path}: expected another picture than {own[0]}")
        if own and elsewhere:
            yield _in_both(own[0], elsewhere[0])
    for path in names:
        if path in others:
            yield _in_both(path, path)


def _in_both(path: Path, other: Path) -> Problem:
    text = f"{path}: expected in one of training and validation, got it in both, there as {other}"
    return Problem("same picture in both", str(path), text)


def _listed_twice(images: Iterable[DatasetImage]) -> Iterator[Problem]:
    seen: set[Path] = set()
    for image in images:
        if image.path in seen:
            text = f"{image.path}: expected once in the data set, got it again"
            yield Problem("same picture twice", str(image.path), text)
        seen.add(image.path)


def _equal_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two and more files with the same bytes, in the order given."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_length[path.stat().st_size].append(path)
    by_hash: dict[str, list[Path]] = defaultdict(list)
    for group in by_length.values():
        for path in group if len(group) > 1 else ():
            by_hash[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    return [group for group in by_hash.values() if len(group) > 1]
