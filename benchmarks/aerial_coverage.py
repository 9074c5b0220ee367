"""What plans show of generated 4K scenes, by geometry alone: part `scenes` of bench_aerial.py.

An object is found if it lies wholly inside a region (a tile, or the full frame) and its longer side has at
least FOUND_PX pixels on the canvas. No detector decides; plans are those of the pipeline as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import letterbox_for
from tercelet.contract.plan import Plan, Region
from tercelet.evaluation.synthetic import Scene, aerial_scene, preset_named
from tercelet.runtime import open_pipeline
from tercelet.runtime.pipelines.aerial_options import AerialOptions
from tercelet.runtime.planning.canvas import CanvasSettings, plan_canvas
from tercelet.runtime.planning.evidence import Evidence
from tercelet.runtime.planning.grid import plan_grid

FOUND_PX = 16.0
PRESET = "clustered-4k"
CANVAS = (640, 640)
# Longer side of an object in frame pixels, half open.
SIZES = {"all": (0.0, np.inf), "8..12": (0.0, 12.0), "12..16": (12.0, 16.0), "16..24": (16.0, 24.0),
         "24..40": (24.0, np.inf)}  # fmt: skip
# Regions are whole pixels; a box that reaches the region's last pixel lies in it.
_SLACK = 1e-6
Planner = Callable[[Scene], Plan]


class Choice(NamedTuple):
    """One row of the table. canvases: besides the full frame's, None for the pipeline's own choice."""

    name: str
    evidence: str
    canvases: int | None
    object_px: float | None
    object_size: float | None = None


def shown(boxes: NDArray[np.float64], plan: Plan, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether each box is found in the full frame or in a region; size: (height, width) of the frame."""
    height, width = size
    place = letterbox_for(height, width, height=CANVAS[0], width=CANVAS[1])
    whole = Region(0, 0, width, height, 0, place.left, place.top, place.width, place.height)
    found = np.zeros(len(boxes), bool)
    sides = boxes[:, 2:] - boxes[:, :2]
    for region in (whole, *plan.regions):
        corners = np.array(region[:4], np.float64)
        inside = (boxes[:, :2] >= corners[:2] - _SLACK).all(axis=1)
        inside &= (boxes[:, 2:] <= corners[2:] + _SLACK).all(axis=1)
        scale = np.array((region.width, region.height)) / (corners[2:] - corners[:2])
        found |= inside & ((sides * scale).max(axis=1) >= FOUND_PX)
    return found


def true_evidence(scene: Scene) -> Evidence:
    """Evidence that counts every object in its cell and knows its size: the plan alone is judged."""
    height, width = scene.frame.shape[:2]
    evidence = Evidence(height, width)
    evidence.start()
    columns, rows = ((scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 / evidence.cell).astype(np.intp).T
    np.add.at(evidence.mass, (rows, columns), 1)
    sides = np.sqrt((scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(axis=1))
    np.add.at(evidence.size, (rows, columns), sides)
    np.divide(evidence.size, evidence.mass, out=evidence.size, where=evidence.mass > 0)
    return evidence


def planners_of(
    choices: Sequence[Choice], bundle: Path, density: str | None, opened: ExitStack
) -> dict[str, Planner]:
    """A planner for each row: grid and oracle by themselves, all others through an opened pipeline."""
    planners: dict[str, Planner] = {}
    for choice in choices:
        if choice.name == "full":
            planners[choice.name] = lambda _: Plan(name="full")
        elif choice.name == "grid":
            planners[choice.name] = lambda scene: plan_grid(*scene.frame.shape[:2], canvas=CANVAS)
        elif choice.evidence == "truth":
            planners[choice.name] = _oracle(choice)
        else:
            options: dict[str, Any] = {"canvases": choice.canvases}
            if choice.name.startswith("dmnet"):
                options |= {"plan": "dmnet", "density": density}
            else:
                options |= {
                    "plan": "canvas",
                    "density": density if "density" in choice.evidence else None,
                    "evidence": choice.evidence.split("+"),
                    "object_px": choice.object_px,
                    "object_size": choice.object_size,
                }
            pipeline = opened.enter_context(open_pipeline(bundle, threads=1, **options))
            planners[choice.name] = _of_pipeline(pipeline)
    return planners


def _of_pipeline(pipeline: Any) -> Planner:
    def plan(scene: Scene) -> Plan:
        report = pipeline(scene.frame).report
        assert report is not None
        found: Plan = report.plan
        return found

    return plan


def _oracle(choice: Choice) -> Planner:
    settings = CanvasSettings() if choice.object_px is None else CanvasSettings(object_px=choice.object_px)

    def plan(scene: Scene) -> Plan:
        height, width = scene.frame.shape[:2]
        place = letterbox_for(height, width, height=CANVAS[0], width=CANVAS[1])
        limit = AerialOptions(canvases=choice.canvases).limit_for(height, width, canvas=CANVAS)
        return plan_canvas(
            true_evidence(scene),
            canvas=CANVAS,
            limit=limit,
            settings=settings,
            taken=(place.width, place.height),
        )

    return plan


def choices_of(
    evidence: Sequence[str],
    canvases: Sequence[str],
    object_px: Sequence[float | None],
    *,
    object_size: float | None,
    has_density: bool,
) -> list[Choice]:
    """The rows: full and grid once, dmnet where there is a density network, canvas with all combinations."""
    rows = [Choice("full", "", None, None), Choice("grid", "", None, None)]
    if has_density:
        rows.append(Choice("dmnet", "density", None, None))
    for source in evidence:
        for px in object_px:
            for count in canvases:
                name = f"canvas {count} {source}" + ("" if px is None else f" {px:g} px")
                rows.append(Choice(name, source, None if count == "auto" else int(count), px, object_size))
    return rows


def measure_scenes(
    choices: Sequence[Choice], *, bundle: Path, density: str | None, scenes: int, seed: int, log: TextIO
) -> dict[str, Any]:
    """Recall by size, canvases and inferences of every row over scenes seed, seed + 1, ..."""
    preset = preset_named(PRESET)
    sides: list[NDArray[np.float64]] = []
    found: dict[str, list[NDArray[np.bool_]]] = {choice.name: [] for choice in choices}
    canvases: dict[str, list[int]] = {choice.name: [] for choice in choices}
    short = dict.fromkeys(found, 0)
    with ExitStack() as opened:
        planners = planners_of(choices, bundle, density, opened)
        for number in range(scenes):
            scene = aerial_scene(
                seed + number, height=preset.height, width=preset.width, settings=preset.settings
            )
            sides.append((scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1))
            for name, planner in planners.items():
                plan = planner(scene)
                found[name].append(shown(scene.boxes, plan, scene.frame.shape[:2]))
                canvases[name].append(plan.canvases)
                short[name] += bool(plan.left_out)
            print(f"scene {number + 1} of {scenes}", file=log, flush=True)
    rows = {name: _row(hits, canvases[name], sides, found["grid"]) for name, hits in found.items()}
    for name, row in rows.items():
        row["scenes_with_left_out"] = short[name]
    return {"scenes": scenes, "seed": seed, "objects": int(sum(map(len, sides))), "rows": rows}


def _row(
    hits: Sequence[NDArray[np.bool_]],
    canvases: Sequence[int],
    sides: Sequence[NDArray[np.float64]],
    grid: Sequence[NDArray[np.bool_]],
) -> dict[str, Any]:
    hit, side = np.concatenate(hits), np.concatenate(sides)
    recall = {}
    for name, (low, high) in SIZES.items():
        chosen = (side >= low) & (side < high)
        recall[name] = float(hit[chosen].mean()) if chosen.any() else None
    by_scene = np.array([scene.mean() if len(scene) else 1.0 for scene in hits])
    by_grid = np.array([scene.mean() if len(scene) else 1.0 for scene in grid])
    return {
        "recall": recall,
        "recall_by_scene": [float(value) for value in np.percentile(by_scene, (25, 50, 75))],
        "scenes_at_least_grid": int(np.count_nonzero(by_scene >= by_grid)),
        "canvases": float(np.mean(canvases)),
        "canvases_most": int(max(canvases)),
        "inferences": float(np.mean(canvases)) + 1,
    }


def print_scenes(result: dict[str, Any], out: TextIO) -> None:
    """The table."""
    print(
        f"{result['scenes']} scenes of {PRESET} from seed {result['seed']}, {result['objects']} objects; "
        f"found: whole in a region and its longer side at least {FOUND_PX:g} px on the canvas",
        file=out,
    )
    width = max(len(name) for name in result["rows"]) + 2
    heads = "".join(f"{name:>8}" for name in SIZES)
    print(
        f"  {'recall':<{width}}{heads}{'by scene, quartiles':>22}{'>= grid':>9}{'runs':>7}{'canvases':>10}"
        f"{'most':>6}{'left out':>10}",
        file=out,
    )
    for name, row in result["rows"].items():
        cells = "".join(f"{'-' if v is None else format(v, '.3f'):>8}" for v in row["recall"].values())
        low, median, high = row["recall_by_scene"]
        spread = f"{median:.3f} ({low:.3f}..{high:.3f})"
        print(
            f"  {name:<{width}}{cells}{spread:>22}{row['scenes_at_least_grid']:>9}{row['inferences']:>7.1f}"
            f"{row['canvases']:>10.1f}{row['canvases_most']:>6}{row['scenes_with_left_out']:>10}",
            file=out,
        )
