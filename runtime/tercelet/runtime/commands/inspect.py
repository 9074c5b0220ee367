"""tercelet inspect: what a folder or a file is, and whether it is whole."""

from __future__ import annotations

import argparse
from dataclasses import asdict

SUMMARY = "say what a bundle, a checkpoint or a file is, and whether it is whole"
REQUIRES: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.runtime.inspect`."""
    parser.add_argument("path", help="folder made by tercelet import or export, or any file")
    parser.add_argument("--json", metavar="FILE", help="write all that was found as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Inspect; 0, or 1 if a file was changed, is missing or cut off."""
    from tercelet.contract.json_output import check_json_place, write_json
    from tercelet.runtime.inspection import inspect
    from tercelet.runtime.inspection_table import table_from_inspection

    check_json_place(arguments.json)
    inspection = inspect(arguments.path)
    if arguments.json != "-":
        print(table_from_inspection(inspection))
    if arguments.json is not None:
        write_json(arguments.json, asdict(inspection))
    return 0 if inspection.ok else 1
