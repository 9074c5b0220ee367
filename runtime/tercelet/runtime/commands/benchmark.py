"""tercelet benchmark: how fast, how soon and in how much memory a bundle runs here."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from tercelet.runtime.commands.aerial_arguments import add_aerial_arguments, aerial_options

SUMMARY = "measure latency by stage, cold start and memory, of one bundle or several in turn"
REQUIRES: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.runtime.benchmark`."""
    parser.add_argument("bundle", help="folder made by tercelet export")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="BUNDLE",
        help="measure these in the same run, block by block",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="SOURCE",
        help="pictures or folders, for detectors of clouds clouds or folders of RGB-D frames (default: "
        "synthetic ones in memory)",
    )
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="of each bundle (default 100)")
    parser.add_argument("--warmup", type=int, default=10, metavar="N", help="frames not counted (default 10)")
    parser.add_argument("--rounds", type=int, metavar="N", help="blocks the frames are cut into (default 10)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine (one a core)")
    parser.add_argument("--spinning", action="store_true", help="idle threads burn their core: lower latency")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--no-cold-start", dest="cold_start", action="store_false", help="do not measure the cold start"
    )
    add_aerial_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    from tercelet.contract.json_output import check_json_place, write_json
    from tercelet.runtime import vision
    from tercelet.runtime.benchmark_table import table_from_benchmark
    from tercelet.runtime.benchmarking import benchmark

    check_json_place(arguments.json)
    vision.limit_threads(arguments.threads)
    result = benchmark(
        arguments.bundle,
        against=arguments.against,
        images=arguments.images,
        frames=arguments.frames,
        warmup=arguments.warmup,
        rounds=arguments.rounds,
        threads=arguments.threads,
        spinning=arguments.spinning,
        device=arguments.device,
        cold_start=arguments.cold_start,
        **aerial_options(arguments),
        progress=not arguments.quiet,
    )
    if arguments.json != "-":
        print(table_from_benchmark(result))
    if arguments.json is not None:
        write_json(arguments.json, asdict(result))
    return 0
