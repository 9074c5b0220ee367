"""An inspection as text for people: one fact a line."""

from __future__ import annotations

from collections.abc import Iterator

from tercelet.contract.manifest import (
    AerialRecord,
    CloudParity,
    CloudRecord,
    Manifest,
    Network,
    PictureVotesRecord,
)
from tercelet.runtime.inspection import Inspection, density_beside
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
        rows += _aerial_rows(inspection)
    for file in inspection.files:
        size = (
            ""
            if file.size_bytes is None
            else f", {_megabytes(file.size_bytes)}, sha256 {(file.sha256 or '')[:12]}"
        )
        rows.append((f"file {file.state}", f"{file.name}{size}"))
    rows += [("state", "ok" if inspection.ok else "DAMAGED"), ("next", inspection.next_step)]
    return "\n".join(f"{name:<14} {printable(value)}" for name, value in rows)


def _aerial_rows(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """How a bundle looks closer, and the density network that it holds."""
    record = inspection.manifest.aerial if inspection.manifest else None
    if record is None:
        return
    yield "plan", _text_from_aerial(record)
    beside = density_beside(inspection)
    if beside is not None:
        yield "density", f"in {record.density}/: {_detector(beside)}"
        for name, value in _density_rows(beside):
            yield f"density {name}", value


def _text_from_aerial(record: AerialRecord) -> str:
    most = "half of what uniform tiles take" if record.canvases is None else f"{record.canvases} canvases"
    return (
        f"{record.plan}, evidence {' + '.join(record.evidence)}, at most {most} besides the full frame, "
        f"objects of {record.object_px:g} px on a canvas, enlarging counts {record.enlarging:g}"
    )


def _text_from_cloud(record: CloudRecord) -> str:
    return (
        f"{record.points} points of {', '.join(record.features)} in metres, upright (x right, y forward, z "
        f"up); the floor is the {record.height_percentile:g}th percentile of z"
    )


def _text_from_picture_votes(record: PictureVotesRecord) -> str:
    found = "no 2D detector beside it"
    if record.detector is not None:
        labels = ", ".join(record.class_map)
        found = (
            f"of the 2D detector in {record.detector}, from a score of {record.score_threshold:g}: {labels}"
        )
    return f"votes of up to {record.boxes} boxes, {found}" + (
        ""
        if record.without_picture is None
        else f"; without a picture the network in {record.without_picture}"
    )


def _text_from_cloud_parity(parity: CloudParity) -> str:
    return (
        f"{parity.proposals} proposals of {parity.clouds} clouds against {parity.reference}: 99.9 % within "
        f"{parity.boxes_p999:.2g} m and {parity.scores_p999:.2g} of score, largest {parity.boxes_max:.2g} m "
        f"and {parity.scores_max:.2g}, {parity.changed} of {parity.decisions} decisions otherwise (gates "
        f"{parity.gate_box:g} m, {parity.gate_score:g})"
    )


def _density_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What a density network gives, and how well its export agrees with its source."""
    if manifest.density:
        prep, cell = manifest.preprocess, manifest.density.cell
        size = f"{prep.height // cell}x{prep.width // cell}"
        yield "cells", f"{size} of {cell} px on a canvas of {prep.height}x{prep.width}, objects in each"
    if manifest.density_parity:
        parity = manifest.density_parity
        yield (
            "parity",
            f"{parity.frames} frames against {parity.reference}: cells within {parity.cells_max:.2g} and "
            f"counts within {parity.counts_max:.2g} of the largest (gate {parity.gate:g})",
        )


def _detector(manifest: Manifest) -> str:
    options = ", ".join(f"{name}={value}" for name, value in manifest.detector.options.items())
    return manifest.detector.name + (f" ({options})" if options else "")


def _manifest_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "detector", _detector(manifest)
    shown = ", ".join(manifest.labels[:_LABELS_SHOWN])
    yield (
        "labels",
        f"{len(manifest.labels)}: {shown}" + (", ..." if len(manifest.labels) > _LABELS_SHOWN else ""),
    )
    if manifest.cloud is None:
        prep = manifest.preprocess
        yield (
            "canvas",
            f"{prep.height}x{prep.width} {prep.color}, {prep.resize}, padded with {prep.pad_value}",
        )
    else:
        yield "cloud", _text_from_cloud(manifest.cloud)
    if manifest.picture_votes:
        yield "picture", _text_from_picture_votes(manifest.picture_votes)
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
        yield from _graph_rows(manifest.network)
    yield from _density_rows(manifest)
    if manifest.lowering:
        low = manifest.lowering
        timed = "".join(f", {form} {spent:g} ms" for form, spent in low.milliseconds.items())
        forms = ", ".join(f"{name} as {form}" for name, form in low.forms.items())
        yield "without native", f"{forms} ({low.reason}{timed} on {low.engine})"
    for plugin in manifest.plugins:
        names = ", ".join(plugin.ops)
        yield "native ops", f"{plugin.backend} on {plugin.system} {plugin.machine}: {names}"
    if manifest.postprocess and not manifest.density:
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
    if manifest.cloud_parity:
        yield "parity", _text_from_cloud_parity(manifest.cloud_parity)
    if manifest.target:
        target = manifest.target
        versions = ", ".join(f"{name} {number}" for name, number in target.versions.items())
        yield (
            "target",
            f"{target.backend} {target.precision}" + (f", made with {versions}" if versions else ""),
        )
    if manifest.golden:
        golden = manifest.golden
        within = f"{golden.tolerance_px:g} px and {golden.tolerance_score:g} of score"
        if manifest.density:
            within = f"{golden.tolerance_score:g} of the largest cell"
        if manifest.cloud:
            within = f"{golden.tolerance_px:g} m and {golden.tolerance_score:g} of score"
        yield "golden", f"{golden.file}, within {within}"


def _graph_rows(network: Network) -> Iterator[tuple[str, str]]:
    candidates = f", K = {network.candidates}" if network.candidates else ""
    yield "graph", f"{network.file}, IR {network.ir_version}, opset {network.opset}{candidates}"
    batch = network.inputs[0].shape[0]
    if batch != 1:
        yield "batch", f"{'1 to ' if network.batch == 'up_to' else ''}{batch} canvases in one run"
    for word, tensors in (("input", network.inputs), ("output", network.outputs)):
        for tensor in tensors:
            shape = "x".join(map(str, tensor.shape))
            yield word, f"{tensor.name} {tensor.dtype} {shape}: {tensor.meaning}"
    if network.ops:
        yield "custom ops", ", ".join(network.ops)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size} bytes"
