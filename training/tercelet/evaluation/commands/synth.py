"""tercelet synth: synthetic aerial scenes with their ground truth, as a data set."""

from __future__ import annotations

import argparse

SUMMARY = "synthetic aerial scenes with ground truth: for benchmarks and small trainings"
REQUIRES = (("cv2", "vision"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.synth_aerial`."""
    parser.add_argument("kind", choices=("aerial",), help="what is drawn")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="frames (100)")
    parser.add_argument("--size", metavar="WxH", help="of a frame in pixels (that of the preset)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first frame; N+1 next (0)")
    parser.add_argument(
        "--preset",
        default="default",
        choices=("default", "clustered-4k"),
        help="default: 1920x1080, objects of 6 to 60 px; clustered-4k: 3840x2160, 8 to 40 px (default)",
    )
    parser.add_argument("--format", default="jpg", choices=("jpg", "png"), help="of the pictures (jpg)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--json", metavar="FILE", help="the summary as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Draw, and print the summary; with --json - the JSON alone."""
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.evaluation.synthetic.synthesis import synth_aerial, synthesis_text
    from tercelet.runtime import vision

    check_json_place(arguments.json)
    vision.limit_threads(1)
    options = {name: value for name, value in vars(arguments).items() if name not in ("kind", "json")}
    result = synth_aerial(**options)
    if arguments.json != STDOUT:
        print(synthesis_text(result), flush=True)
    if arguments.json is not None:
        write_json(arguments.json, result.record())
    return 0
