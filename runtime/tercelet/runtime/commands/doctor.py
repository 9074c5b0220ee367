"""tercelet doctor: what of this machine is ready, and what to do about the rest."""

from __future__ import annotations

import argparse
from dataclasses import asdict

SUMMARY = "check the installation and say what to do about what is missing"
REQUIRES: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(arguments: argparse.Namespace) -> int:
    """Check; 0, or 3 if there is a problem. Warnings do not count."""
    from tercelet.contract.json_output import check_json_place, write_json
    from tercelet.runtime.diagnosis import doctor

    check_json_place(arguments.json)
    diagnosis = doctor(progress=not arguments.quiet)
    if arguments.json != "-":
        for check in diagnosis.checks:
            print(f"{check.status:<8} {check.id:<25} {check.found}")
            if check.remedy:
                print(f"{'':<8} {'':<25} -> {check.remedy}")
        statuses = [check.status for check in diagnosis.checks]
        print(f"problems: {statuses.count('problem')}, warnings: {statuses.count('warning')}")
    if arguments.json is not None:
        write_json(arguments.json, asdict(diagnosis))
    return 3 if diagnosis.status == "problem" else 0
