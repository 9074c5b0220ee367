"""tercelet import: upstream weights to a checkpoint."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, check_json_place, write_json
from tercelet.contract.manifest import Manifest
from tercelet.training.commands.detector_options import options_from

SUMMARY = "import upstream weights (.pt, .pth, .safetensors, .h5) without running what is in them"
REQUIRES = (("torch", "train"), ("safetensors", "train"))
_VOTENET_RULES = (
    "proposal_radius",
    "proposal_samples",
    "proposal_sampling",
    "normalised_votes",
    "interpolation",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("weights", help="weight file of the upstream project: .pt, .pth, .safetensors or .h5")
    parser.add_argument("--detector", required=True, metavar="NAME", help="which network it is, e.g. yolov5n")
    parser.add_argument("-o", "--output", help="folder to write (default: the file's name with -checkpoint)")
    parser.add_argument(
        "--classes", type=int, metavar="N", help="refuse weights with another number of classes"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the detector that the weights do not tell, e.g. grid=xy; may be given again",
    )
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line, instead of the file's")
    parser.add_argument(
        "--licence", metavar="TEXT", help="licence of the weights, if the file does not state it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older checkpoint of that name")
    parser.add_argument("--json", metavar="FILE", help="write what was imported as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.training.importing.import_weights import import_weights, output_of_import

    check_json_place(arguments.json)
    place = output_of_import(arguments.weights, arguments.output)
    if arguments.json not in (None, STDOUT):
        _check_apart(Path(arguments.json), weights=Path(arguments.weights), output=place)
    output = import_weights(
        arguments.weights,
        detector=arguments.detector,
        output=place,
        classes=arguments.classes,
        options=options_from(arguments.option),
        labels=arguments.labels,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr),
    )
    manifest = read_manifest(output)
    if arguments.json is not None:
        write_json(arguments.json, {"output": str(output), "manifest": asdict(manifest)})
    print(_summary(output, manifest), file=sys.stderr if arguments.json == STDOUT else sys.stdout)
    return 0


def _check_apart(place: Path, *, weights: Path, output: Path) -> None:
    """InputError if the JSON would replace the weights or lie where the checkpoint is to be."""
    resolved, folder = place.resolve(), output.resolve()
    if resolved == weights.resolve() or resolved == folder or folder in resolved.parents:
        taken = weights if resolved == weights.resolve() else output
        raise InputError(f"--json {place}: expected a place beside {taken}; choose another name")


def _rules(manifest: Manifest) -> list[tuple[str, str]]:
    """What tells the variants of VoteNet apart and stands in no tensor's name or shape."""
    options = manifest.detector.options
    known = [f"{name}={options[name]}" for name in _VOTENET_RULES if name in options]
    if not known:
        return []
    # Of a Keras file its own layers tell.
    told = manifest.provenance.format == "hdf5"
    return [("rules", ", ".join(known) + ("" if told else "; the file cannot tell, --option NAME=VALUE can"))]


def _summary(output: Path, manifest: Manifest) -> str:
    facts = manifest.provenance
    names = ", ".join(manifest.labels[:3]) + (", ..." if len(manifest.labels) > 3 else "")
    absent = "not stated in the file"
    canvas = f"{manifest.preprocess.height}x{manifest.preprocess.width}"
    points = manifest.detector.options.get("points")
    counted = (
        ("classes", f"{len(manifest.labels)} ({names})")
        if manifest.density is None
        else ("density", f"objects a cell of {manifest.density.cell} px")
    )
    rows = (
        ("detector", manifest.detector.name),
        counted,
        ("parameters", f"{facts.parameters:,} in {facts.tensors} tensors"),
        (
            "image size",
            f"{facts.image_size} px" if facts.image_size else f"{absent}, {canvas} px",
        )
        if points is None
        else ("points", f"{points} of a cloud"),
        *_rules(manifest),
        ("date", facts.date or absent),
        ("licence", facts.licence or f"{absent}; say it with --licence"),
        ("made by", facts.producer or absent),
        ("source", f"{facts.source} ({facts.format}), sha256 {facts.sha256[:12]}..."),
        ("written to", str(output)),
        ("next", f"tercelet export {shlex.quote(str(output))}"),
    )
    return "\n".join(f"{name:<11} {value}" for name, value in rows)
