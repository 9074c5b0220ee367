"""tercelet bundle-aerial: detector and density network in one folder."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict

from tercelet.contract.json_output import check_json_place, write_json
from tercelet.contract.plan import PLAN_NAMES

SUMMARY = "detector and density network in one bundle for aerial video"
REQUIRES = (("onnxruntime", "cpu"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("detector", help="bundle of a detector; tercelet export --batch 16 makes a quick one")
    parser.add_argument(
        "density",
        nargs="?",
        help="bundle of a density network (none: the one that the detector's bundle holds already, or else "
        "the detector's own eyes)",
    )
    parser.add_argument("-o", "--output", help="folder to write (default: the detector's name with -aerial)")
    parser.add_argument(
        "--plan", choices=PLAN_NAMES, default="canvas", help="how regions are chosen (canvas)"
    )
    parser.add_argument(
        "--evidence", metavar="A,B", help="what tells where objects are: full, density, previous"
    )
    parser.add_argument("--canvases", type=int, metavar="N", help="besides the full frame, at most")
    parser.add_argument("--object-px", type=float, metavar="X", help="side of an object that is found (50)")
    parser.add_argument("--enlarging", type=float, metavar="X", help="what enlarging brings, 0 to 1 (0.5)")
    parser.add_argument("--iou", type=float, metavar="X", help="threshold of suppression (the detector's)")
    parser.add_argument("--overwrite", action="store_true", help="replace an older bundle of that name")
    parser.add_argument("--json", metavar="FILE", help="write what was made as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.contract.artefact import read_manifest
    from tercelet.export.aerial_bundle import bundle_aerial
    from tercelet.runtime.commands.aerial_arguments import evidence_names

    check_json_place(arguments.json)
    output = bundle_aerial(
        arguments.detector,
        arguments.density,
        output=arguments.output,
        plan=arguments.plan,
        evidence=None if arguments.evidence is None else evidence_names(arguments.evidence),
        canvases=arguments.canvases,
        object_px=arguments.object_px,
        enlarging=arguments.enlarging,
        iou=arguments.iou,
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr),
    )
    manifest = read_manifest(output)
    if arguments.json is not None:
        write_json(arguments.json, {"output": str(output), "manifest": asdict(manifest)})
    if arguments.json != "-":
        print(f"{output}: next: tercelet run {shlex.quote(str(output))} VIDEO --save drawn")
    return 0
