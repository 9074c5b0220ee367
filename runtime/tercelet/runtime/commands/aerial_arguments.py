"""The options of looking closer, for every verb that opens a pipeline."""

from __future__ import annotations

import argparse
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.contract.plan import PLAN_NAMES


def add_aerial_arguments(parser: argparse.ArgumentParser, *, plan: bool = True) -> None:
    """The aerial options of `tercelet.runtime.open_pipeline`; plan: also --plan."""
    group = parser.add_argument_group("looking closer where small objects are dense")
    if plan:
        group.add_argument(
            "--plan",
            choices=PLAN_NAMES,
            help="full: no closer look; grid: uniform tiles; dmnet: density crops as published; "
            "canvas: regions at the scale that their objects need, packed (the bundle's)",
        )
    group.add_argument("--density", metavar="BUNDLE", help="density bundle that shows where objects are")
    group.add_argument(
        "--evidence",
        metavar="A,B",
        help="what tells where objects are: full (weak candidates of the full frame), density, previous (the "
        "frame before), or several",
    )
    group.add_argument(
        "--canvases", type=int, metavar="N", help="besides the full frame, at most (half of uniform tiles)"
    )
    group.add_argument("--budget-ms", type=float, metavar="X", help="of a frame; decides how many canvases")
    group.add_argument(
        "--density-threshold", type=float, metavar="X", help="least evidence of a cell (chosen by itself)"
    )
    group.add_argument("--overlap", type=float, metavar="X", help="of uniform tiles, share of a side (0.2)")
    group.add_argument(
        "--fusion", choices=("nms", "weighted"), help="how boxes of one object become one (nms)"
    )
    group.add_argument(
        "--object-px",
        type=float,
        metavar="X",
        help="side of an object on a canvas at which the detector finds two of three (50; smaller for "
        "detectors trained on aerial pictures)",
    )
    group.add_argument(
        "--enlarging",
        type=float,
        metavar="X",
        help="what enlarging the frame's pixels brings, from 0 (nothing) to 1 (as much as a larger "
        "object would): a side counts as scale ** X (0.5)",
    )
    group.add_argument(
        "--object-size",
        type=float,
        metavar="X",
        help="side of an object in frame pixels, for evidence that does not tell sizes (1.5 %% of the frame)",
    )


def aerial_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given, as keyword arguments."""
    names: tuple[str, ...] = (
        "density",
        "canvases",
        "budget_ms",
        "density_threshold",
        "overlap",
        "fusion",
        "object_px",
        "enlarging",
        "object_size",
    )
    options = {name: getattr(arguments, name) for name in names}
    if hasattr(arguments, "plan"):
        options["plan"] = arguments.plan
    options["evidence"] = None if arguments.evidence is None else evidence_names(arguments.evidence)
    return options


def evidence_names(text: str) -> list[str]:
    """The names in a text with commas; InputError for an empty one."""
    if not text.strip():
        raise InputError("--evidence: expected names such as full,density, got an empty text")
    return [part.strip() for part in text.split(",")]
