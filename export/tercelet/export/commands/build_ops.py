"""tercelet build-ops: native kernels of custom ops, built on this machine."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict

SUMMARY = "build the native kernels of custom ops on this machine, into a bundle"
REQUIRES = (("onnxruntime", "cpu"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "bundle", nargs="?", help="bundle that gets the library (default: build and check only)"
    )
    parser.add_argument("-o", "--output", help="write a new bundle instead of replacing BUNDLE")
    parser.add_argument(
        "--backend",
        action="append",
        choices=("onnxruntime", "cuda", "tensorrt"),
        help="what to build for; may be given more than once (default: onnxruntime)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older bundle at OUTPUT")
    parser.add_argument("--json", metavar="FILE", help="write what was built as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.contract.json_output import check_json_place, write_json
    from tercelet.export.building_ops import build_ops

    check_json_place(arguments.json)
    built = build_ops(
        arguments.bundle,
        output=arguments.output,
        backends=tuple(arguments.backend or ("onnxruntime",)),
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr),
    )
    if arguments.json is not None:
        libraries = [{**asdict(library), "path": str(library.path)} for library in built.libraries]
        place = str(built.bundle) if built.bundle else None
        write_json(arguments.json, {**asdict(built), "libraries": libraries, "bundle": place})
    if arguments.json != "-":
        for library in built.libraries:
            print(f"{library.backend}: {library.path}{' (built before)' if library.was_cached else ''}")
        if built.conformance:
            ran = built.conformance
            print(f"{', '.join(ran.ops)} on {ran.engine}: {ran.cases} cases within {ran.difference:.2g}")
        if built.bundle:
            print(f"next: tercelet run {shlex.quote(str(built.bundle))} SOURCE")
    return 0
