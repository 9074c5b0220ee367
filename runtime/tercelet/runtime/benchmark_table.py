"""A benchmark's result as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from tercelet.runtime.benchmarking import BenchmarkResult, BundleTimes
from tercelet.runtime.cold_start import StartCost
from tercelet.runtime.latency import Distribution, Ratio
from tercelet.runtime.machine_identity import Machine

_COLUMNS = ("p50", "p90", "p99", "mean", "jitter", "iqr")


def table_from_benchmark(result: BenchmarkResult) -> str:
    """Machine and settings, a block a bundle, and the ratios of the first bundle to the others."""
    lines = [line_from_machine(result.machine), _line_from_settings(result)]
    for bundle in result.bundles:
        lines += ["", *_block(bundle, result.imports)]
    lines += ["", "jitter = p99 - p50, iqr = distance of the quartiles"]
    if result.bundles[0].stages_ms["read"] is None:
        lines[-1] += "; frames were in memory, so nothing was read"
    if result.comparisons:
        first = result.bundles[0].name
        lines += ["", f"time of {first} over time of the other, median over {result.settings.rounds} rounds"]
        width = max(len(comparison.against) for comparison in result.comparisons)
        lines.append(f"  {'':<{width}}  {'total':<24}{'infer':<24}CPU")
        for item in result.comparisons:
            figures = f"{_ratio(item.total):<24}{_ratio(item.infer):<24}{_ratio(item.cpu)}"
            lines.append(f"  {item.against:<{width}}  {figures}")
    return "\n".join(lines)


def line_from_machine(machine: Machine) -> str:
    """The machine in one line."""
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "memory unknown"
    parts = (
        machine.board,
        machine.cpu,
        f"{machine.cores_usable} of {machine.cores} cores",
        memory,
        machine.os,
        f"Python {machine.python}, numpy {machine.numpy}, {machine.engine or 'no engine'}",
        f"tercelet {machine.tercelet}",
    )
    return "machine  " + "; ".join(part for part in parts if part)


def _line_from_settings(result: BenchmarkResult) -> str:
    chosen = result.settings
    threads = "one a core" if chosen.threads is None else str(chosen.threads)
    spinning = "on" if chosen.spinning else "off"
    return (
        f"run      {chosen.frames} frames from {chosen.images}, {chosen.warmup} to warm up, "
        f"{chosen.rounds} rounds, threads {threads}, spinning {spinning}, {chosen.device}"
    )


def _block(bundle: BundleTimes, imports: StartCost | None) -> Iterator[str]:
    height, width = bundle.canvas
    size = f"{height}x{width}" if bundle.points is None else f"{bundle.points} points"
    yield f"{bundle.name}: {bundle.detector} {size} {bundle.precision or ''}, {bundle.backend}"
    yield f"  {'ms':<12}" + "".join(f"{name:>9}" for name in _COLUMNS)
    yield _row("total", bundle.total_ms)
    for stage, times in bundle.stages_ms.items():
        if times is not None:
            yield _row(stage, times)
    yield (
        f"  {bundle.frames_per_second:.1f} frames/s, {bundle.cpu_ms_per_frame:.1f} ms of CPU time and "
        f"{bundle.detections_per_frame:.1f} detections a frame"
    )
    if bundle.inferences_per_frame is not None:
        yield f"  plan {bundle.plan}, {bundle.inferences_per_frame:.1f} inferences a frame"
    start = bundle.cold_start
    if start and imports:
        yield (
            f"  cold start to the first detections {start.wall_ms:.0f} ms, {start.cpu_ms:.0f} ms of CPU; "
            f"imports alone {imports.wall_ms:.0f} and {imports.cpu_ms:.0f}; "
            f"above them {start.wall_ms - imports.wall_ms:.0f} and {start.cpu_ms - imports.cpu_ms:.0f}"
        )
    memory = bundle.memory
    yield (
        f"  memory {_megabytes(memory.loaded_bytes)} when loaded, {_megabytes(memory.model_bytes)} of it "
        f"the model; a frame takes {_megabytes(memory.peak_above_loaded_bytes)} more at its peak"
    )


def _row(stage: str, times: Distribution) -> str:
    return f"  {stage:<12}" + "".join(f"{getattr(times, name):9.2f}" for name in _COLUMNS)


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.3f} ({ratio.min:.3f} to {ratio.max:.3f})"


def _megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.1f} MB"
