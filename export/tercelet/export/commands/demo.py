"""tercelet demo: what the package's own small weights find, or the whole chain on yours."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "see it work: real detections on generated scenes and a clip, with figures; or your own weights"
REQUIRES = (("onnxruntime", "cpu"), ("cv2", "vision"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "--weights", metavar="FILE", help="upstream weights to import, export, run (those of the package)"
    )
    parser.add_argument("--detector", metavar="NAME", help="which network the weights are, e.g. yolov5n")
    parser.add_argument("--images", nargs="+", metavar="SOURCE", help="pictures or folders for --weights")
    parser.add_argument("--data", metavar="DATASET", help="labelled frames to evaluate --weights on")
    parser.add_argument(
        "--output", "-o", default="demo", help="folder for everything that is made (default: demo)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer scenes and frames, no cold start")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.export.demonstration import demo
    from tercelet.export.demonstration.demo_text import demo_text

    result = demo(
        weights=arguments.weights,
        detector=arguments.detector,
        images=arguments.images,
        data=arguments.data,
        output=arguments.output,
        quick=arguments.quick,
        json=arguments.json,
        report=lambda line: print(line, file=sys.stderr),
    )
    print(demo_text(result), file=sys.stderr if arguments.json == "-" else sys.stdout)
    return 0
