"""tercelet run: objects in pictures, videos, cameras, streams and clouds."""

from __future__ import annotations

import argparse
import os
import sys

from tercelet.runtime.commands.aerial_arguments import add_aerial_arguments, aerial_options
from tercelet.runtime.commands.rgbd_arguments import add_rgbd_arguments, rgbd_options

SUMMARY = "find objects in pictures, folders, videos, cameras, streams and clouds"
REQUIRES: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.runtime.run`, and --quiet and --verbose."""
    parser.add_argument("bundle", help="folder made by tercelet export")
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="picture, folder, video file, camera index, rtsp:// or http:// address; for a detector of "
        "clouds a cloud (.npz, .npy, .ply, .bin, .mat) or a folder of RGB, depth and calibration",
    )
    parser.add_argument("--json", metavar="FILE", help="one JSON object a frame and line; - for stdout")
    parser.add_argument("--save", metavar="DIR", help="folder for drawn pictures and videos")
    parser.add_argument(
        "--plain", action="store_true", help="draw boxes alone, in full size, also where there is a plan"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine (one a core)")
    parser.add_argument("--spinning", action="store_true", help="idle threads burn their core: lower latency")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--score", type=float, metavar="X", help="lowest score, 0 to 1 (the bundle's)")
    parser.add_argument(
        "--iou", type=float, metavar="X", help="overlap that merges boxes, 0 to 1 (the bundle's)"
    )
    parser.add_argument("--max-detections", type=int, metavar="N", help="a frame, at most (the bundle's)")
    parser.add_argument(
        "--agnostic", action="store_const", const=True, help="merge boxes of different classes too"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="end after N frames in all")
    parser.add_argument(
        "--no-check", dest="check", action="store_false", help="skip the bundle's golden pair"
    )
    parser.add_argument(
        "--no-native-ops",
        dest="native_ops",
        action="store_false",
        help="custom ops through standard operators, though the bundle brings native ones",
    )
    add_aerial_arguments(parser)
    add_rgbd_arguments(parser)
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", action="store_true", help="no lines and no progress, only problems")
    volume.add_argument("--verbose", action="store_true", help="a line for each frame of a video too")


def execute(arguments: argparse.Namespace) -> int:
    """Run; 0, 2 if something could not be read, 130 after Ctrl-C or SIGTERM."""
    from tercelet.runtime import vision
    from tercelet.runtime.interruption import stop_on_signal
    from tercelet.runtime.run_console import RunConsole, line_from_summary, report
    from tercelet.runtime.running import run
    from tercelet.runtime.sources.stream import reader_stalled

    vision.limit_threads(arguments.threads)
    console = RunConsole(
        quiet=arguments.quiet, verbose=arguments.verbose, stdout_is_taken=arguments.json == "-"
    )
    with stop_on_signal() as stop:
        summary = run(
            arguments.bundle,
            arguments.sources,
            json=arguments.json,
            save=arguments.save,
            plain=arguments.plain,
            threads=arguments.threads,
            spinning=arguments.spinning,
            device=arguments.device,
            score=arguments.score,
            iou=arguments.iou,
            max_detections=arguments.max_detections,
            agnostic=arguments.agnostic,
            limit=arguments.limit,
            check=arguments.check,
            native_ops=arguments.native_ops,
            **aerial_options(arguments),
            seed=arguments.seed,
            rgbd=rgbd_options(arguments),
            record=arguments.record,
            stop=stop,
            listener=console,
        )
    if not arguments.quiet or summary.interrupted:
        report(line_from_summary(summary))
    if summary.interrupted and reader_stalled():
        # Orderly so far; only a silent server would still be waited for.
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(130)
    if summary.broken:
        report(f"tercelet: {summary.broken} frames could not be read, see above")
    return 130 if summary.interrupted else 2 if summary.broken else 0
