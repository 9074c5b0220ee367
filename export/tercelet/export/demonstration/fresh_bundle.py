"""The bundle of the package's checkpoints, exported here: the one part of that demo that needs torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tercelet.export.aerial_bundle import bundle_aerial
from tercelet.export.demonstration.packaged_weights import PackagedWeights, aerial_manifests
from tercelet.export.exporting import export


def export_packaged(
    packaged: PackagedWeights, output: Path, *, frames: Sequence[Path], report: Callable[[str], object]
) -> Path:
    """Export both checkpoints as the finished bundle was and put them into one; returns its folder.

    Canvases, batch, plan and how weights are stored are the finished bundle's. frames: pictures on which the
    detector's graph is compared with torch. Raises as `export` and `bundle_aerial` do.
    """
    finished, density = aerial_manifests(packaged.bundle)
    aerial, network = finished.aerial, finished.network
    assert aerial is not None
    assert network is not None

    def say(line: str) -> None:
        if not line.startswith("wrote"):  # to a folder that is gone at the end
            report("    " + line)

    with tempfile.TemporaryDirectory() as parts:
        exported = [
            export(
                checkpoint,
                output=Path(parts) / name,
                size=(made.preprocess.height, made.preprocess.width),
                batch=network.inputs[0].shape[0] if name == "detector" else None,
                stored=made.stored or "fp32",
                frames=frames,
                report=say,
            )
            for name, checkpoint, made in (
                ("detector", packaged.detector, finished),
                ("density", packaged.density, density),
            )
        ]
        return bundle_aerial(
            *exported,
            output=output,
            plan=aerial.plan,
            evidence=aerial.evidence,
            canvases=aerial.canvases,
            object_px=aerial.object_px,
            enlarging=aerial.enlarging,
            iou=None if finished.postprocess is None else finished.postprocess.iou_threshold,
            overwrite=True,
        )
