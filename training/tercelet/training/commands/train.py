"""tercelet train: a detector or a density network from frames or clouds with annotations."""

from __future__ import annotations

import argparse
import sys

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place
from tercelet.training.commands.train_arguments import (
    DENSITY_ONLY,
    DETECTOR_ONLY,
    PICTURES_ONLY,
    POINTS_ONLY,
    add_density_arguments,
    add_detector_arguments,
    add_point_arguments,
    add_shared_arguments,
)

SUMMARY = "train a detector or a density network on frames or clouds with annotations"
REQUIRES = (
    ("torch", "train"),
    ("safetensors", "train"),
    ("cv2", "train"),
    ("faster_coco_eval", "train"),
    ("matplotlib", "train"),
)


_REFUSED = {
    "detector": (*DENSITY_ONLY, *POINTS_ONLY),
    "density": (*DETECTOR_ONLY, *POINTS_ONLY),
    "points": (*DENSITY_ONLY, *PICTURES_ONLY),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared_arguments(parser)
    add_detector_arguments(parser)
    add_point_arguments(parser)
    add_density_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.training.detectors.families import find_family

    check_json_place(arguments.json)
    if arguments.seed < 0:
        raise InputError(f"--seed: expected 0 or more, got {arguments.seed}")
    family, _ = find_family(arguments.detector)
    _refuse(arguments, _REFUSED[family.kind], arguments.detector)
    if family.kind == "density":
        from tercelet.training.commands.train_density import train as train_kind
    elif family.kind == "points":
        from tercelet.training.commands.train_points import train as train_kind
    else:
        from tercelet.training.commands.train_detector import train as train_kind
    return train_kind(arguments, report=_to_stderr)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], detector: str) -> None:
    """InputError for an option that the kind of network has no use for."""
    for name in names:
        if getattr(arguments, name) not in (None, False):
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option}: {detector} has no use for it; leave it out")
