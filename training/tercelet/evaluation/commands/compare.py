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
    """Compare and print the table; 1 if a gate is broken."""
    from tercelet.evaluation.comparing import compare
    from tercelet.evaluation.comparison_text import comparison_text

    result = compare(**vars(arguments))
    if arguments.json != "-":
        print(comparison_text(result))
    return 0 if result.agrees else 1
