"""tercelet train: a detector or a density network from frames with annotations."""

from __future__ import annotations

import argparse
import sys

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place
from tercelet.training.commands.train_arguments import (
    DENSITY_ONLY,
    DETECTOR_ONLY,
    add_density_arguments,
    add_detector_arguments,
    add_shared_arguments,
)

SUMMARY = "train a detector or a density network on frames with annotations"
REQUIRES = (
    ("torch", "train"),
    ("safetensors", "train"),
    ("cv2", "train"),
    ("faster_coco_eval", "train"),
    ("matplotlib", "train"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared_arguments(parser)
    add_detector_arguments(parser)
    add_density_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.training.detectors.families import find_family

    check_json_place(arguments.json)
    if arguments.seed < 0:
        raise InputError(f"--seed: expected 0 or more, got {arguments.seed}")
    family, _ = find_family(arguments.detector)
    is_density = family.kind == "density"
    _refuse(arguments, DETECTOR_ONLY if is_density else DENSITY_ONLY, arguments.detector)
    if is_density:
        from tercelet.training.commands.train_density import train

        return train(arguments, report=_to_stderr)
    from tercelet.training.commands.train_detector import train

    return train(arguments, report=_to_stderr)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], detector: str) -> None:
    """InputError for an option that the kind of network has no use for."""
    for name in names:
        if getattr(arguments, name) not in (None, False):
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option}: {detector} has no use for it; leave it out")
