"""A small VisDrone split made on the spot, and a look at what was prepared from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tercelet.contract.scenes import synthetic_frame
from tercelet.evaluation import prepare_visdrone
from tercelet.runtime.vision import write_image

WIDTH, HEIGHT = 302, 221
# A cluster at the left, a lone car at the right, one that a window's edge cuts, a region, one to be ignored.
CLUSTER = "10,10,20,10,1,4,0,0\n30,20,20,10,1,4,0,0\n60,30,20,12,1,4,0,2\n"
TEXT = CLUSTER + "250,150,30,20,1,9,0,1\n0,180,60,40,0,0,0,0\n100,100,8,8,0,1,0,0\n40,40,8,8,1,11,0,0\n"


def make_split(folder: Path, texts: Mapping[str, str], *, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """A VisDrone split: a picture and an annotation for each name."""
    (folder / "annotations").mkdir(parents=True)
    for number, (name, text) in enumerate(texts.items()):
        picture = folder / "images" / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_image(picture, synthetic_frame(number, height=height, width=width))
        (folder / "annotations" / f"{picture.stem}.txt").write_text(text)
    return folder


def prepare(root: Path, output: Path, **options: Any) -> Any:
    return prepare_visdrone(root, output=output, **{"jobs": 1, "quiet": True, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def coco(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"annotations_{name}.json").read_text())  # type: ignore[no-any-return]
