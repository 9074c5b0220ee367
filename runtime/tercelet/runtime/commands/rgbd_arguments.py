"""The options of reading RGB-D frames and clouds, for every verb that takes them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tercelet.runtime.sources.rgbd import RgbdOptions


def add_rgbd_arguments(parser: argparse.ArgumentParser) -> None:
    """The fields of `RgbdOptions`, and --seed and --record of `tercelet.runtime.run`."""
    group = parser.add_argument_group("clouds and RGB-D frames")
    group.add_argument(
        "--cloud-frame",
        choices=("upright", "depth", "camera"),
        help="of cloud files: upright, x right, y forward, z up (the default); depth, the same and still "
        "tilted; camera, x right, y down, z forward",
    )
    group.add_argument(
        "--level",
        choices=("extrinsics", "floor", "identity"),
        help="how frames come upright (what is upright as it is; others by their extrinsics where there are "
        "any, else by their floor)",
    )
    group.add_argument("--columns", type=int, metavar="N", help="float32 numbers a point of .bin files")
    group.add_argument(
        "--depth-format",
        choices=("millimetres", "sunrgbd"),
        help="of 16-bit depth pictures (sunrgbd where all samples are multiples of 8)",
    )
    group.add_argument("--longest", type=float, metavar="X", help="metres; depth beyond it was not seen")
    group.add_argument(
        "--drop-non-finite", action="store_true", help="points with NaN or infinity are left out, not refused"
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="draw points at random with it (evenly: always the same boxes)"
    )
    group.add_argument(
        "--record",
        metavar="FILE.rrd",
        help="points, boxes and pictures for the rerun viewer (rerun FILE.rrd)",
    )


def rgbd_options(arguments: argparse.Namespace) -> RgbdOptions | None:
    """What was given about reading; None where nothing was."""
    names = ("cloud_frame", "level", "columns", "depth_format", "longest")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.drop_non_finite:
        given["non_finite"] = "drop"
    if not given:
        return None
    from tercelet.runtime.sources.rgbd import RgbdOptions  # 20 ms that most runs need not pay

    return RgbdOptions(**given)
