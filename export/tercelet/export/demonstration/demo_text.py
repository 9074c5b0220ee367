"""A demo as text for people."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tercelet.evaluation.plan_result import PlanResult
from tercelet.evaluation.result import figure_text
from tercelet.evaluation.table import text_table
from tercelet.export.demonstration.demo_result import PackagedDemo, PlanDemo, WeightsDemo


def demo_text(result: PackagedDemo | WeightsDemo) -> str:
    """The table, the pictures, and what to do next."""
    return _weights_text(result) if isinstance(result, WeightsDemo) else _packaged_text(result)


def _packaged_text(result: PackagedDemo) -> str:
    truth, flight, last = result.scenes.truth, result.scenes, result.plans[-1]
    times = last.benchmark.bundles[0]
    rows = [
        ("scenes", f"{truth.frames} of {truth.width}x{truth.height} with {sum(truth.objects.values())} "
                   f"objects, seeds {truth.seed} to {truth.seed + truth.frames - 1}; a flight of "
                   f"{flight.flight_frames} frames of {flight.flight_size[1]}x{flight.flight_size[0]}"),
        ("bundle", _bundle_line(result)),
        ("benchmark", f"p50 {times.total_ms.p50:.1f} ms, p99 {times.total_ms.p99:.1f} ms a frame with "
                      f"plan {last.plan} on {times.backend}"),
    ]  # fmt: skip
    if times.cold_start is not None:
        rows.append(("cold start", f"{times.cold_start.wall_ms:.0f} ms from start to the first boxes"))
    lines = ["", *_aligned(rows), "", *(f"  {line}" for line in _plan_table(result).splitlines()), ""]
    if result.evaluation is None:
        lines.append("AP50, recall, precision: not measured, pip install 'tercelet[evaluate]' for them")
    else:
        settings = result.evaluation.settings
        lines.append(
            f"AP50: VisDrone's rules; recall and precision: score above {settings['recall_score']:g}, IoU "
            f"{settings['recall_iou']:g}; both as tercelet evaluate {result.scenes.truth.output} tells them"
        )
    lines += ["pictures:", *(f"  {path}" for path in result.pictures)]
    lines += [f"next:     tercelet run {shlex.quote(str(result.bundle))} VIDEO --save drawn"]
    return "\n".join(lines)


def _bundle_line(result: PackagedDemo) -> str:
    manifest, density = result.manifest, result.density
    size, canvas = manifest.preprocess, density.preprocess
    both = (
        f"{manifest.detector.name} {size.height}x{size.width}, {len(manifest.labels)} classes, and "
        f"{density.detector.name} {canvas.height}x{canvas.width}"
    )
    if not result.is_exported:
        return f"{both}; the finished one of the package"
    parity = manifest.parity
    assert parity is not None
    return (
        f"{both}; exported here, within {parity.boxes_px_p999:.2g} px and {parity.scores_p999:.2g} of score "
        "of torch (99.9 %)"
    )


def _plan_table(result: PackagedDemo) -> str:
    header = (
        "plan", "AP50", "recall", "precision", "canvases a frame", "ms a frame", "frames/s",
        "on the flight",
    )  # fmt: skip
    compared = {} if result.evaluation is None else {item.plan: item for item in result.evaluation.plans}
    return text_table(header, [_plan_row(item, compared.get(item.plan)) for item in result.plans])


def _plan_row(item: PlanDemo, judged: PlanResult | None) -> tuple[str, ...]:
    times, flight = item.benchmark.bundles[0], item.flight
    figures = ("-", "-", "-")
    if judged is not None:
        figures = (
            figure_text(judged.evaluation.precision.ap50),
            figure_text(judged.working.recall()),
            figure_text(judged.working.precision),
        )
    return (
        item.plan,
        *figures,
        f"{times.inferences_per_frame or 1:.1f}",
        f"{times.total_ms.p50:.1f}",
        f"{times.frames_per_second:.1f}",
        f"{flight.detections / max(flight.frames, 1):.1f} a frame",
    )


def _weights_text(result: WeightsDemo) -> str:
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
    lines = ["", *_aligned(rows), ""]
    lines += ["pictures: " + ", ".join(map(str, result.pictures)), f"bundle:   {result.bundle}"]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(stage) for stage, _ in rows)
    return [f"  {stage:<{width}}  {found}" for stage, found in rows]


def _accuracy(result: WeightsDemo) -> str:
    found = result.evaluation
    if found is None:
        return "not done: no labelled frames (--data)"
    figures = found.precision
    if figures.ap is None or figures.ap50 is None:
        return f"no ground truth of a class that the detector knows, {found.frames} frames"
    return f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f} on {found.frames} frames"
