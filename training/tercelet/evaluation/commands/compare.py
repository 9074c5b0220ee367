"""tercelet compare: two bundles or checkpoints on the same frames."""

from __future__ import annotations

import argparse

SUMMARY = "two bundles or checkpoints on the same frames: do they find the same?"
REQUIRES: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.compare`."""
    parser.add_argument("a", metavar="A", help="bundle or checkpoint")
    parser.add_argument("b", metavar="B", help="bundle or checkpoint")
    parser.add_argument(
        "--images", metavar="SOURCE", nargs="+", help="pictures, folders, videos (synthetic frames)"
    )
    parser.add_argument("--min-iou", type=float, default=0.99, metavar="X", help="gate for pairs (0.99)")
    parser.add_argument("--max-score", type=float, default=1e-3, metavar="X", help="gate for pairs (0.001)")
    parser.add_argument("--score", type=float, metavar="X", help="lowest score of both (that of A)")
    parser.add_argument("--iou", type=float, metavar="X", help="overlap that merges boxes (that of A)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine (one a core)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    parser.add_argument("--json", metavar="FILE", help="the result as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Compare and print the table; 2 if something could not be read, else 1 if a gate is broken."""
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.evaluation.comparing import compare
    from tercelet.evaluation.comparison_text import comparison_text
    from tercelet.runtime import vision
    from tercelet.runtime.printable import printable
    from tercelet.runtime.run_console import report

    check_json_place(arguments.json)
    vision.limit_threads(arguments.threads)
    options = {name: value for name, value in vars(arguments).items() if name != "json"}
    result = compare(**options, on_broken=lambda error: report(f"tercelet: {printable(str(error))}"))
    if arguments.json != STDOUT:
        print(comparison_text(result), flush=True)
    # Behind the table: a file that cannot be written must not take the table along.
    if arguments.json is not None:
        write_json(arguments.json, result.record())
    if result.broken:
        report(f"tercelet: {result.broken} frames could not be read, see above")
        return 2
    return 0 if result.agrees else 1
