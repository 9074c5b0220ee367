"""The splits of a VisDrone download and the frames in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.density_truth import Mode
from tercelet.evaluation.datasets.pictures import pictures_below
from tercelet.evaluation.preparation.frame import FrameTask
from tercelet.evaluation.preparation.settings import PrepareSettings


@dataclass(frozen=True)
class Split:
    """name: its folder. tasks: its frames, by path. spare: annotations without a picture."""

    name: str
    output: Path
    tasks: tuple[FrameTask, ...]
    spare: tuple[str, ...]


def splits_below(root: Path, output: Path, settings: PrepareSettings) -> list[Split]:
    """`root` itself if it has images/ and annotations/, otherwise its subfolders that have them.

    One split goes right into `output`, several into a subfolder each. Raises InputError: no split, a frame
    without annotation, two frames whose outputs would have one name.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: expected a VisDrone folder, got {'a file' if root.exists() else 'nothing'}"
        )
    if _is_split(root):
        return [_split(root, output, settings)]
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and _is_split(folder))
    if not folders:
        raise InputError(
            f"{root}: expected VisDrone's folders images and annotations, or folders that have them "
            "(VisDrone2019-DET-train, ...), got neither"
        )
    return [_split(folder, output / folder.name, settings) for folder in folders]


def _is_split(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "annotations").is_dir()


def _split(folder: Path, output: Path, settings: PrepareSettings) -> Split:
    images, annotations = folder / "images", folder / "annotations"
    if output.resolve().is_relative_to(images.resolve()):
        raise InputError(f"{output}: expected a place outside {images}, where it would be taken for frames")
    pictures = pictures_below(images)
    _check_names(pictures)
    # The parts of a name, not of a path: a folder called val above the data set says nothing.
    parts = folder.resolve().name.split("-")
    mode: Mode = "val" if "val" in parts else "test" if "test" in parts else "train"
    tasks = tuple(
        FrameTask(
            picture=picture,
            annotation=annotations / f"{picture.stem}.txt",
            name=picture.relative_to(images).as_posix(),
            output=output,
            mode=mode,
            settings=settings,
        )
        for picture in pictures
    )
    missing = [task.annotation for task in tasks if not task.annotation.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]}: expected the annotation of a frame, got nothing there "
            f"({len(missing)} of {len(tasks)} frames have none); an empty file is a frame without objects"
        )
    spare = {path.name for path in annotations.glob("*.txt")} - {task.annotation.name for task in tasks}
    return Split(folder.resolve().name, output, tasks, tuple(sorted(spare)))


def _check_names(pictures: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for picture in pictures:
        other = seen.setdefault(picture.stem, picture)
        if other != picture:
            raise InputError(
                f"{picture}: expected frames that differ in more than folder and suffix, got {other} too; "
                "their outputs would have one name"
            )
