"""The aerial pipeline: what plans show of generated 4K scenes, what its stages cost, what it allocates.

    python benchmarks/bench_aerial.py BUNDLE [--parts scenes costs allocations] [--density BUNDLE ...]
        [--dataset VISDRONE_FOLDER] [--scenes 20] [--canvases auto 3 5] [--object-px 20] [--json FILE]

scenes: recall by geometry on scenes of preset clustered-4k (their distribution is stated in
tercelet/evaluation/synthetic/settings.py), with the plans full, grid, dmnet (with a density network) and
canvas; evidence truth gives the planner every object's place and size, so what it misses is the plan's.
costs: milliseconds of each stage on one thread at 1080p and 4K, and density networks against a yolo11n pass,
in turn. allocations: tracemalloc over frames of a pipeline that runs steadily. Frames of the last two are
those of VisDrone (and doubled to 4K) where --dataset is given, else generated ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from aerial_allocations import measure_allocations, print_allocations
from aerial_costs import measure_density, measure_stages, print_density, print_stages
from aerial_coverage import choices_of, measure_scenes, print_scenes
from numpy.typing import NDArray
from slicing_frames import bench_frames

from tercelet.evaluation.synthetic import PRESETS, aerial_scene
from tercelet.runtime import vision

PARTS = ("scenes", "costs", "allocations")
GROUPS = {"1080p": "1080p", "4K": "4K enlarged"}
GENERATED = 3


def frames_of(dataset: Path | None, *, quick: bool) -> dict[str, list[NDArray[np.uint8]]]:
    """Frames by size, of VisDrone or generated."""
    if dataset is None:
        sizes = dict(zip(GROUPS, PRESETS, strict=True))
        return {
            name: [
                aerial_scene(seed, height=preset.height, width=preset.width, settings=preset.settings).frame
                for seed in range(1 if quick else GENERATED)
            ]
            for name, preset in sizes.items()
        }
    _, frames = bench_frames(dataset, list(GROUPS.values()))
    return {
        name: [frame.pixels for frame in frames if frame.group == group] for name, group in GROUPS.items()
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--density", nargs="+", default=[], help="density bundles; the first one is evidence")
    parser.add_argument("--dataset", type=Path, help="VisDrone folder: frames of costs and allocations")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--evidence", nargs="+", help="of plan canvas, each one a row: full, density, full+density, truth"
    )
    parser.add_argument("--canvases", nargs="+", default=["auto", "3", "5"], help="each one a row")
    parser.add_argument("--object-px", nargs="+", type=float, default=[None], help="each one a row")
    parser.add_argument("--object-size", type=float, help="side in frame pixels, for a density network")
    parser.add_argument("--score", type=float, help="of costs (the bundle's)")
    parser.add_argument("--rounds", type=int, default=20, help="of costs and allocations")
    parser.add_argument("--quick", action="store_true", help="two scenes, two rounds")
    parser.add_argument("--json", metavar="FILE", help="- for stdout")
    options = parser.parse_args(argv)
    if options.evidence is None:
        options.evidence = ["full", *(["density"] if options.density else []), "truth"]
    if options.quick:
        options.scenes, options.rounds = 2, 2
    return options


def pipelines_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Options of the pipelines whose stages and memory are measured, by name."""
    shared = {"plan": "canvas", "object_px": options.object_px[0], "object_size": options.object_size}
    chosen: dict[str, dict[str, Any]] = {"evidence full": {**shared, "evidence": ["full"]}}
    if options.density:
        chosen["evidence density"] = {**shared, "evidence": ["density"], "density": options.density[0]}
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Print the tables; write them as JSON where asked."""
    options = parse(argv)
    vision.limit_threads(1)
    out = sys.stderr if options.json == "-" else sys.stdout
    result: dict[str, Any] = {"settings": {key: str(value) for key, value in vars(options).items()}}
    if "scenes" in options.parts:
        result["scenes"] = measure_scenes(
            choices_of(
                options.evidence,
                options.canvases,
                options.object_px,
                object_size=options.object_size,
                has_density=bool(options.density),
            ),
            bundle=options.bundle,
            density=options.density[0] if options.density else None,
            scenes=options.scenes,
            seed=options.seed,
            log=sys.stderr,
        )
        print_scenes(result["scenes"], out)
    if "costs" in options.parts or "allocations" in options.parts:
        for size, frames in frames_of(options.dataset, quick=options.quick).items():
            result[size] = measure_size(size, frames, options, out)
    if options.json:
        text = json.dumps(result, indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    return 0


def measure_size(
    size: str, frames: list[NDArray[np.uint8]], options: argparse.Namespace, out: Any
) -> dict[str, Any]:
    """Costs and allocations at one size of frame."""
    result: dict[str, Any] = {}
    for name, chosen in pipelines_of(options).items():
        if "costs" in options.parts:
            stages = measure_stages(
                frames, bundle=options.bundle, rounds=options.rounds, score=options.score, options=chosen
            )
            result[f"stages, {name}"] = stages
            print_stages(f"{size}, {name}", stages, out)
        if "allocations" in options.parts:
            memory = measure_allocations(
                frames, bundle=options.bundle, rounds=max(options.rounds // 2, 1), options=chosen
            )
            result[f"allocations, {name}"] = memory
            print_allocations(f"{size}, {name}", memory, out)
    if "costs" in options.parts:
        result["density"] = measure_density(frames, options.density, rounds=options.rounds)
        print_density(size, result["density"], out)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
