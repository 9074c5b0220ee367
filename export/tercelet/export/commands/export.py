"""tercelet export: a checkpoint to a checked bundle."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from tercelet.contract.artefact import read_manifest
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.contract.manifest import Manifest
from tercelet.contract.preprocess import size_from_text

SUMMARY = "export a checkpoint to a checked bundle for the device"
REQUIRES = (
    ("torch", "export"),
    ("onnx", "export"),
    ("onnxscript", "export"),
    ("onnxruntime", "export"),
    ("safetensors", "export"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("checkpoint", help="folder made by tercelet import")
    parser.add_argument(
        "-o", "--output", help="folder to write (default: the checkpoint's name with -bundle)"
    )
    parser.add_argument(
        "--target", choices=("onnxruntime",), default="onnxruntime", help="engine to export for"
    )
    parser.add_argument("--precision", choices=("fp32",), default="fp32")
    parser.add_argument("--size", metavar="SIDE|HxW", help="canvas in pixels, e.g. 640 or 384x640")
    parser.add_argument("--opset", type=int, help="ONNX opset, 17 to 20 (default 18; with AKConv 19)")
    parser.add_argument(
        "--op-form",
        default="auto",
        metavar="FORM",
        help="custom ops in standard operators: auto (the quickest here), deform_conv, or row_gather "
        "(for ONNX Runtime before 1.25)",
    )
    parser.add_argument("--inline-ops", action="store_true", help="no custom nodes: no native kernel can run")
    parser.add_argument(
        "--candidates", type=int, help="boxes the graph gives for a frame, before suppression"
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="canvases in one run, any number up to N (1; with --density 16)",
    )
    parser.add_argument(
        "--density", metavar="BUNDLE", help="density bundle to put beside it, for aerial video"
    )
    parser.add_argument(
        "--frames",
        nargs="+",
        metavar="SOURCE",
        help="pictures, folders or, for a detector of clouds, clouds to compare the graph with torch on",
    )
    parser.add_argument(
        "--points",
        type=int,
        metavar="N",
        help="points of a cloud, for a detector of clouds, 1000 or more (as it recommends)",
    )
    parser.add_argument(
        "--boxes",
        type=int,
        metavar="K",
        help="boxes of the picture that a network with image votes is shown at most (100)",
    )
    parser.add_argument("--gate-px", type=float, help="99.9th percentile of boxes that passes, in pixels")
    parser.add_argument("--gate-score", type=float, help="99.9th percentile of scores that passes")
    parser.add_argument(
        "--stored",
        choices=("fp32", "fp16"),
        default="fp32",
        help="how large weights lie in the file: fp16 halves it, and computes in fp32 all the same (fp32)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older bundle of that name")
    parser.add_argument("--json", metavar="FILE", help="write what was made as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.contract.manifest import DEFAULT_CANDIDATES
    from tercelet.export.exporting import export

    check_json_place(arguments.json)
    output = export(
        arguments.checkpoint,
        output=arguments.output,
        target=arguments.target,
        precision=arguments.precision,
        size=None if arguments.size is None else size_from_text(arguments.size),
        opset=arguments.opset,
        op_form=arguments.op_form,
        inline_ops=arguments.inline_ops,
        candidates=DEFAULT_CANDIDATES if arguments.candidates is None else arguments.candidates,
        batch=arguments.batch,
        density=arguments.density,
        frames=arguments.frames,
        gate_px=arguments.gate_px,
        gate_score=arguments.gate_score,
        stored=arguments.stored,
        points=arguments.points,
        boxes=arguments.boxes,
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr),
    )
    manifest = read_manifest(output)
    if arguments.json != "-":
        print(_summary(output))
    if arguments.json is not None:
        write_json(arguments.json, {"output": str(output), "manifest": asdict(manifest)})
    return 0


def _summary(output: Path) -> str:
    manifest = read_manifest(output)
    parity, network = manifest.parity, manifest.network
    assert network is not None
    if manifest.density_parity is not None:
        return _density_summary(output, manifest)
    if manifest.cloud_parity is not None:
        return _cloud_summary(output, manifest)
    assert parity is not None
    size = f"{manifest.preprocess.height}x{manifest.preprocess.width}"
    megabytes = (output / network.file).stat().st_size / 1e6
    return (
        f"{output}: {manifest.detector.name} {size}, {len(manifest.labels)} classes, {megabytes:.1f} MB\n"
        f"equal to {parity.reference} on {parity.frames} frames within {parity.boxes_px_p999:.2g} px and "
        f"{parity.scores_p999:.2g} of score (99.9 %)\n"
        f"next: tercelet run {shlex.quote(str(output))} PICTURE"
    )


def _density_summary(output: Path, manifest: Manifest) -> str:
    density, parity, network = manifest.density, manifest.density_parity, manifest.network
    assert density is not None
    assert parity is not None
    assert network is not None
    megabytes = (output / network.file).stat().st_size / 1e6
    return (
        f"{output}: {manifest.detector.name} {manifest.preprocess.height}x{manifest.preprocess.width}, "
        f"objects a cell of {density.cell} px, {megabytes:.1f} MB\n"
        f"equal to {parity.reference} on {parity.frames} frames within {parity.cells_max:.2g} of the largest "
        "cell\n"
        f"next: tercelet run BUNDLE PICTURE --density {shlex.quote(str(output))}"
    )


def _cloud_summary(output: Path, manifest: Manifest) -> str:
    cloud, parity, network, votes = (
        manifest.cloud,
        manifest.cloud_parity,
        manifest.network,
        manifest.picture_votes,
    )
    assert cloud is not None
    assert parity is not None
    assert network is not None
    megabytes = (output / network.file).stat().st_size / 1e6
    place = shlex.quote(str(output))
    boxes, step = "", f"tercelet run {place} CLOUD"
    if votes is not None:
        boxes = f"{votes.boxes} boxes of a picture, "
        step = f"tercelet bundle-rgbd {place} DETECTOR-BUNDLE puts a 2D detector beside it"
    return (
        f"{output}: {manifest.detector.name}, clouds of {cloud.points} points, {boxes}"
        f"{len(manifest.labels)} classes, {megabytes:.1f} MB\n"
        f"equal to {parity.reference} on {parity.clouds} clouds within {parity.boxes_p999:.2g} m and "
        f"{parity.scores_p999:.2g} of score (99.9 %)\n"
        f"next: {step}"
    )
