"""tercelet demo: the whole chain in one go."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tercelet.export.demonstration import DemoResult

SUMMARY = "the whole chain in one go: import, export, run, evaluate, benchmark"
REQUIRES = (
    ("torch", "export"),
    ("onnx", "export"),
    ("onnxscript", "export"),
    ("onnxruntime", "export"),
    ("safetensors", "export"),
    ("faster_coco_eval", "evaluate"),
    ("cv2", "vision"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "--weights", metavar="FILE", help="upstream weights (default: those of ../shared/data)"
    )
    parser.add_argument("--detector", metavar="NAME", help="which network the weights are, e.g. yolov5n")
    parser.add_argument("--images", nargs="+", metavar="SOURCE", help="pictures or folders to run on")
    parser.add_argument("--data", metavar="DATASET", help="labelled frames to evaluate on")
    parser.add_argument(
        "--output", "-o", default="demo", help="folder for everything that is made (default: demo)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer frames to benchmark, no cold start")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.export.demonstration import demo

    result = demo(
        weights=arguments.weights,
        detector=arguments.detector,
        images=arguments.images,
        data=arguments.data,
        output=arguments.output,
        quick=arguments.quick,
        json=arguments.json,
        report=lambda line: print(line, file=sys.stderr),
    )
    print(_table(result), file=sys.stderr if arguments.json == "-" else sys.stdout)
    return 0


def _table(result: DemoResult) -> str:
    parity, times = result.manifest.parity, result.benchmark.bundles[0]
    assert parity is not None
    preprocess, provenance = result.manifest.preprocess, result.manifest.provenance
    rows = [
        ("import", f"{result.manifest.detector.name}, {len(result.manifest.labels)} classes, "
                   f"{provenance.parameters} parameters"),
        ("export", f"{preprocess.height}x{preprocess.width}, within {parity.boxes_px_p999:.2g} px and "
                   f"{parity.scores_p999:.2g} of score of torch (99.9 %)"),
        ("run", f"{result.run.detections} detections on {result.run.frames} frames, "
                f"{result.comparison.matched} of them the checkpoint's too"),
        ("evaluate", _accuracy(result)),
        ("benchmark", f"p50 {times.total_ms.p50:.1f} ms, p99 {times.total_ms.p99:.1f} ms a frame "
                      f"({times.frames_per_second:.1f} frames a second) on {times.backend}"),
    ]  # fmt: skip
    if times.cold_start is not None:
        rows.append(("cold start", f"{times.cold_start.wall_ms:.0f} ms from start to the first boxes"))
    width = max(len(stage) for stage, _ in rows)
    lines = ["", *(f"  {stage:<{width}}  {found}" for stage, found in rows), ""]
    if not result.trained:
        lines.append("the network is untrained and finds nothing: give --weights FILE --detector NAME")
    lines += ["pictures: " + ", ".join(map(str, result.pictures)), f"bundle:   {result.bundle}"]
    return "\n".join(lines)


def _accuracy(result: DemoResult) -> str:
    found = result.evaluation
    if found is None:
        return "not done: no labelled frames (--data)"
    figures = found.precision
    if figures.ap is None or figures.ap50 is None:
        return f"no ground truth of a class that the detector knows, {found.frames} frames"
    return f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f} on {found.frames} frames"
