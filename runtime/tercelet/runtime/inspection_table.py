"""An inspection as text for people: one fact a line."""

from __future__ import annotations

from collections.abc import Iterator

from tercelet.contract.manifest import Manifest
from tercelet.runtime.inspection import Inspection
from tercelet.runtime.printable import printable

_LABELS_SHOWN = 8
_UNKNOWN = "not stated"


def table_from_inspection(inspection: Inspection) -> str:
    """Every fact of the inspection, the state of each file, and the next step."""
    rows = [
        ("path", inspection.path),
        ("what", inspection.description),
        ("size", _megabytes(inspection.size_bytes)),
    ]
    if inspection.sha256:
        rows.append(("sha256", inspection.sha256))
    if inspection.manifest:
        rows += _manifest_rows(inspection.manifest)
    for file in inspection.files:
        size = (
            ""
            if file.size_bytes is None
            else f", {_megabytes(file.size_bytes)}, sha256 {(file.sha256 or '')[:12]}"
        )
        rows.append((f"file {file.state}", f"{file.name}{size}"))
    rows += [("state", "ok" if inspection.ok else "DAMAGED"), ("next", inspection.next_step)]
    return "\n".join(f"{name:<14} {printable(value)}" for name, value in rows)


def _manifest_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    options = ", ".join(f"{name}={value}" for name, value in manifest.detector.options.items())
    yield "detector", manifest.detector.name + (f" ({options})" if options else "")
    shown = ", ".join(manifest.labels[:_LABELS_SHOWN])
    yield (
        "labels",
        f"{len(manifest.labels)}: {shown}" + (", ..." if len(manifest.labels) > _LABELS_SHOWN else ""),
    )
    prep = manifest.preprocess
    yield "canvas", f"{prep.height}x{prep.width} {prep.color}, {prep.resize}, padded with {prep.pad_value}"
    source = manifest.provenance
    yield "licence", source.licence or f"{_UNKNOWN}: find out before you ship it"
    yield "weights from", f"{source.source} ({source.format}), sha256 {source.sha256[:12]}"
    made = ", ".join(part for part in (source.producer, source.date) if part)
    yield "made by", made or _UNKNOWN
    if source.parameters is not None:
        yield "parameters", f"{source.parameters:,} in {source.tensors} tensors"
    yield from _bundle_rows(manifest)


def _bundle_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if manifest.network:
        network = manifest.network
        yield (
            "graph",
            f"{network.file}, IR {network.ir_version}, opset {network.opset}, K = {network.candidates}",
        )
        for word, tensors in (("input", network.inputs), ("output", network.outputs)):
            for tensor in tensors:
                shape = "x".join(map(str, tensor.shape))
                yield word, f"{tensor.name} {tensor.dtype} {shape}: {tensor.meaning}"
        if network.ops:
            yield "custom ops", ", ".join(network.ops)
    if manifest.lowering:
        low = manifest.lowering
        timed = "".join(f", {form} {spent:g} ms" for form, spent in low.milliseconds.items())
        forms = ", ".join(f"{name} as {form}" for name, form in low.forms.items())
        yield "without native", f"{forms} ({low.reason}{timed} on {low.engine})"
    for plugin in manifest.plugins:
        names = ", ".join(plugin.ops)
        yield "native ops", f"{plugin.backend} on {plugin.system} {plugin.machine}: {names}"
    if manifest.postprocess:
        post = manifest.postprocess
        classes = "all classes together" if post.class_agnostic else "class by class"
        yield (
            "postprocess",
            f"score > {post.score_threshold}, IoU {post.iou_threshold} {classes}, "
            f"at most {post.max_detections}",
        )
    if manifest.parity:
        parity = manifest.parity
        yield (
            "parity",
            f"{parity.candidates} candidates on {parity.frames} frames against {parity.reference}: "
            f"99.9 % within {parity.boxes_px_p999:.2g} px and {parity.scores_p999:.2g} of score, largest "
            f"{parity.boxes_px_max:.2g} px and {parity.scores_max:.2g}, {parity.missing} missing "
            f"(gates {parity.gate_px:g} px, {parity.gate_score:g})",
        )
    if manifest.target:
        target = manifest.target
        versions = ", ".join(f"{name} {number}" for name, number in target.versions.items())
        yield (
            "target",
            f"{target.backend} {target.precision}" + (f", made with {versions}" if versions else ""),
        )
    if manifest.golden:
        golden = manifest.golden
        yield (
            "golden",
            f"{golden.file}, within {golden.tolerance_px:g} px and {golden.tolerance_score:g} of score",
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size} bytes"
