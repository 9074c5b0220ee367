"""tercelet bundle-rgbd: a network with image votes and its 2D detector in one folder."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict

from tercelet.contract.json_output import check_json_place, write_json

SUMMARY = "network with image votes and its 2D detector in one bundle for RGB-D"
REQUIRES = (("onnxruntime", "cpu"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("network", help="bundle of imvotenet")
    parser.add_argument("detector", help="bundle of any 2D detector, such as yolo11n")
    parser.add_argument("-o", "--output", help="folder to write (default: the network's name with -rgbd)")
    parser.add_argument(
        "--class-map",
        metavar="FILE",
        help="JSON of the 2D detector's label to the network's class, such as "
        '{"couch": "sofa"} (labels of the same name, and COCO\'s names of the same things)',
    )
    parser.add_argument(
        "--without-picture", metavar="BUNDLE", help="of votenet, for frames that have no picture"
    )
    parser.add_argument(
        "--score", type=float, metavar="X", help="2D boxes below it give no votes (the network's, 0.1)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older bundle of that name")
    parser.add_argument("--json", metavar="FILE", help="write what was made as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.contract.artefact import read_manifest
    from tercelet.export.rgbd_bundle import bundle_rgbd, read_label_map

    check_json_place(arguments.json)
    output = bundle_rgbd(
        arguments.network,
        arguments.detector,
        output=arguments.output,
        class_map=None if arguments.class_map is None else read_label_map(arguments.class_map),
        without_picture=arguments.without_picture,
        score_threshold=arguments.score,
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr),
    )
    if arguments.json is not None:
        write_json(arguments.json, {"output": str(output), "manifest": asdict(read_manifest(output))})
    if arguments.json != "-":
        print(f"{output}: next: tercelet run {shlex.quote(str(output))} FOLDER --save drawn")
    return 0
