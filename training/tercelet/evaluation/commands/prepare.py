"""tercelet prepare: density maps, density crops and COCO JSON from a data set as it was downloaded."""

from __future__ import annotations

import argparse

SUMMARY = "density maps, density crops and COCO JSON of VisDrone"
REQUIRES = (("cv2", "evaluate"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.prepare_visdrone`."""
    parser.add_argument("format", choices=("visdrone",), help="of the data set")
    parser.add_argument("root", help="a split (images, annotations), or the folder of several")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder to write, or to go on with"
    )
    parser.add_argument("--window", type=int, default=70, metavar="N", help="side in pixels (70)")
    parser.add_argument("--threshold", type=float, default=0.08, metavar="X", help="objects a window (0.08)")
    parser.add_argument("--sigma", type=float, default=15.0, metavar="X", help="of a Gaussian, pixels (15)")
    parser.add_argument(
        "--density-scale",
        type=int,
        default=4,
        choices=(1, 4),
        help="pixels a cell's side; keeps the count (4)",
    )
    parser.add_argument(
        "--min-visible",
        type=float,
        default=0.1,
        metavar="X",
        help="share of an object that a crop must show to mention it; a cut one is to be ignored (0.1)",
    )
    parser.add_argument(
        "--drop-heavy-occlusion", action="store_true", help="objects hidden by more than half do not count"
    )
    parser.add_argument("--keep-score0", action="store_true", help="objects marked to be ignored count too")
    parser.add_argument(
        "--no-crops", dest="crops", action="store_false", help="no crops, which take the longest"
    )
    parser.add_argument(
        "--parity", action="store_true", help="density and crops as DMNet's scripts make them"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--json", metavar="FILE", help="the result as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Prepare and print the table; with --json - the JSON alone."""
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.evaluation.preparation.result import preparation_text
    from tercelet.evaluation.preparing import prepare_visdrone
    from tercelet.runtime import vision

    check_json_place(arguments.json)
    vision.limit_threads(1)
    options = {name: value for name, value in vars(arguments).items() if name not in ("format", "json")}
    result = prepare_visdrone(**options)
    if arguments.json != STDOUT:
        print(preparation_text(result), flush=True)
    if arguments.json is not None:
        write_json(arguments.json, result.record())
    return 0
