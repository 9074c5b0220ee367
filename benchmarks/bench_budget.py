"""Does the aerial pipeline keep a budget? A clip tiled to 4K, with the cost of 2, 4 and 8 canvases allowed.

    python benchmarks/bench_budget.py BUNDLE CLIP.mp4 [--canvases 2 4 8] [--evidence full previous]
        [--density BUNDLE] [--frames 436] [--tiles 6] [--threads 1] [--json FILE]

Each frame of the clip is repeated --tiles times across and down (640x360 becomes 3840x2160). What N canvases
cost, the full frame's among them, is measured first, with the same pipeline held to N - 1 more and without a
budget: the median of the frames that used all of them; where the plan never wants so many, as many uniform
tiles are timed instead. With that as its budget the whole clip runs, and the
frame times, from the array to the boxes, are divided by the budget. Frames of the warm-up do not count.
Where other work shares the cores, late frames are partly theirs: the spread of the first measurement, and
the processor's time beside the clock's, say how much.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import PlanName
from tercelet.runtime import open_pipeline, vision
from tercelet.runtime.sources import open_source

WARM_UP = 20
MEASURED = 40
# Frames that must have used all canvases for their median to be a cost.
ENOUGH = 5


def tiled_frames(clip: Path, tiles: int, limit: int) -> Iterator[NDArray[np.uint8]]:
    """The clip's frames, each tiles x tiles times side by side, in one array that is used again."""
    large: NDArray[np.uint8] | None = None
    with open_source(clip) as source:
        for number, frame in enumerate(source):
            if number == limit:
                return
            height, width = frame.image.shape[:2]
            if large is None:
                large = np.empty((tiles * height, tiles * width, 3), np.uint8)
            large.reshape(tiles, height, tiles, width, 3)[...] = frame.image[None, :, None]
            yield large


def run(
    options: argparse.Namespace, evidence: str, limit: int, *, plan: PlanName = "canvas", **chosen: Any
) -> dict[str, NDArray[Any]]:
    """Times in ms and what was planned, of each frame after the warm-up."""
    rows: dict[str, list[float]] = {}
    if plan == "canvas":
        chosen |= {
            "evidence": evidence.split("+"),
            "density": options.density if "density" in evidence else None,
            "object_px": options.object_px,
            "object_size": options.object_size,
        }
    with open_pipeline(options.bundle, threads=options.threads, plan=plan, **chosen) as pipeline:
        for number, frame in enumerate(tiled_frames(options.clip, options.tiles, limit)):
            start, cpu = time.perf_counter(), time.process_time()
            found = pipeline(frame)
            spent, cpu_spent = time.perf_counter() - start, time.process_time() - cpu
            assert found.report is not None
            if number < WARM_UP:
                continue
            facts = {
                "ms": spent * 1e3,
                "cpu_ms": cpu_spent * 1e3,
                "predicted_ms": found.report.predicted_ms or 0.0,
                "inferences": found.report.inferences,
                "left_out": len(found.report.plan.left_out),
                "found": len(found),
            }
            for name, value in facts.items():
                rows.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in rows.items()}


def cost_of(options: argparse.Namespace, evidence: str, canvases: int) -> dict[str, Any]:
    """What a frame with so many canvases costs, the full frame's among them, without a budget."""
    limit = min(WARM_UP + MEASURED, options.frames)
    plans: tuple[PlanName, ...] = ("canvas", "grid")
    for plan in plans:
        rows = run(options, evidence, limit, plan=plan, canvases=canvases - 1)
        times = rows["ms"][rows["inferences"] == canvases]
        if len(times) >= ENOUGH:
            break
    low, median, high, late = (float(value) for value in np.percentile(times, (25, 50, 75, 95)))
    return {"plan": plan, "frames": len(times), "low": low, "median": median, "high": high, "p95": late}


def measure(options: argparse.Namespace, evidence: str, canvases: int) -> dict[str, Any]:
    """One budget: the cost first, then the clip."""
    cost = cost_of(options, evidence, canvases)
    budget = cost["median"]
    rows = run(options, evidence, options.frames, budget_ms=budget)
    over = rows["ms"] / budget
    return {
        "evidence": evidence,
        "canvases": canvases,
        "cost": cost,
        "budget_ms": budget,
        "frames": len(over),
        "over_budget": {name: float(np.percentile(over, at)) for name, at in PERCENTILES.items()},
        "cpu_over_budget_p95": float(np.percentile(rows["cpu_ms"], 95) / budget),
        "share_above_budget": float((over > 1).mean()),
        "share_above_1.2": float((over > 1.2).mean()),
        "inferences": {
            "least": int(rows["inferences"].min()),
            "mean": float(rows["inferences"].mean()),
            "most": int(rows["inferences"].max()),
        },
        "more_than_one_too_many": int((rows["inferences"] > canvases + 1).sum()),
        "left_out": {
            "frames": int((rows["left_out"] > 0).sum()),
            "mean": float(rows["left_out"].mean()),
            "most": int(rows["left_out"].max()),
        },
        "predicted_over_measured": float(np.median(rows["predicted_ms"] / rows["ms"])),
        "found": float(rows["found"].mean()),
    }


PERCENTILES = {"p50": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}
_COLUMNS = (
    f"  {'evidence':<14}{'N':>3}{'cost':>8}{'quartiles':>16}{'p95':>8}{'budget':>8}{'p50':>7}{'p95':>7}"
    f"{'max':>7}{'>1.2':>7}{'CPU p95':>9}{'canvases':>14}{'left out':>14}{'found':>8}"
)


def print_row(row: dict[str, Any], out: Any) -> None:
    """One line of the table."""
    cost, over, used = row["cost"], row["over_budget"], row["inferences"]
    spread = f"{cost['low']:.0f}..{cost['high']:.0f}"
    spent = f"{cost['median']:.0f}{'*' if cost['plan'] == 'grid' else ''}"
    counts = f"{used['mean']:.1f} ({used['least']}..{used['most']})"
    missing = f"{row['left_out']['frames']} x {row['left_out']['mean']:.1f}"
    print(
        f"  {row['evidence']:<14}{row['canvases']:>3}{spent:>8}{spread:>16}{cost['p95']:>8.0f}"
        f"{row['budget_ms']:>8.0f}{over['p50']:>7.2f}{over['p95']:>7.2f}{over['max']:>7.2f}"
        f"{row['share_above_1.2']:>7.3f}{row['cpu_over_budget_p95']:>9.2f}{counts:>14}{missing:>14}"
        f"{row['found']:>8.0f}",
        file=out,
        flush=True,
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--canvases", nargs="+", type=int, default=[2, 4, 8], help="the full frame included")
    parser.add_argument(
        "--evidence", nargs="+", help="each one a row: full, previous, density, full+previous"
    )
    parser.add_argument("--density", help="density bundle")
    parser.add_argument("--object-px", type=float)
    parser.add_argument("--object-size", type=float)
    parser.add_argument("--frames", type=int, default=436)
    parser.add_argument("--tiles", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="60 frames")
    parser.add_argument("--json", metavar="FILE", help="- for stdout")
    options = parser.parse_args(argv)
    if options.quick:
        options.frames = min(options.frames, 60)
    if options.frames <= WARM_UP:
        parser.error(f"--frames: expected more than the warm-up of {WARM_UP}, got {options.frames}")
    if options.evidence is None:
        options.evidence = ["full", "previous", *(["density"] if options.density else [])]
    return options


def main(argv: list[str] | None = None) -> int:
    """Print the table; write it as JSON where asked."""
    options = parse(argv)
    vision.limit_threads(options.threads)
    out = sys.stderr if options.json == "-" else sys.stdout
    print(
        f"{options.frames} frames, {WARM_UP} of them warm-up, {options.threads} thread(s); ms of a frame "
        "with N canvases (* uniform tiles), then frame time over the budget",
        file=out,
    )
    print(_COLUMNS, file=out, flush=True)
    rows = []
    for evidence in options.evidence:
        for canvases in options.canvases:
            rows.append(measure(options, evidence, canvases))
            print_row(rows[-1], out)
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items()}
        text = json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
