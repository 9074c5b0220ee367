"""tercelet synth: synthetic aerial scenes or RGB-D rooms with their ground truth, as a data set."""

from __future__ import annotations

import argparse

SUMMARY = "synthetic aerial scenes or RGB-D rooms with ground truth: for benchmarks and small trainings"
REQUIRES = (("cv2", "vision"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.synth_aerial` and of
    `tercelet.evaluation.synthetic.rooms.synth_rooms`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{aerial,rooms}", help="what is drawn")
    aerial = kinds.add_parser("aerial", help="scenes from above, boxes as VisDrone and COCO have them")
    _add_shared(aerial, "frame")
    aerial.add_argument("--size", metavar="WxH", help="of a frame in pixels (that of the preset)")
    aerial.add_argument(
        "--preset",
        default="default",
        choices=("default", "clustered-4k"),
        help="default: 1920x1080, objects of 6 to 60 px; clustered-4k: 3840x2160, 8 to 40 px (default)",
    )
    aerial.add_argument("--format", default="jpg", choices=("jpg", "png"), help="of the pictures (jpg)")
    rooms = kinds.add_parser(
        "rooms", help="furnished rooms, RGB and depth, boxes and votes as SUN RGB-D and VoteNet have them"
    )
    _add_shared(rooms, "room")


def _add_shared(parser: argparse.ArgumentParser, unit: str) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--count", type=int, default=100, metavar="N", help=f"{unit}s (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"of the first {unit}; N+1 next (0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--json", metavar="FILE", help="the summary as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Draw, and print the summary; with --json - the JSON alone."""
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.runtime import vision

    check_json_place(arguments.json)
    vision.limit_threads(1)
    text, record = _drawn(arguments)
    if arguments.json != STDOUT:
        print(text, flush=True)
    if arguments.json is not None:
        write_json(arguments.json, record)
    return 0


def _drawn(arguments: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """The summary as text and as JSON takes it."""
    options = {name: value for name, value in vars(arguments).items() if name not in ("kind", "json")}
    if arguments.kind == "rooms":
        from tercelet.evaluation.synthetic.rooms.room_synthesis import rooms_text, synth_rooms

        rooms = synth_rooms(**options)
        return rooms_text(rooms), rooms.record()
    from tercelet.evaluation.synthetic.synthesis import synth_aerial, synthesis_text

    scenes = synth_aerial(**options)
    return synthesis_text(scenes), scenes.record()
