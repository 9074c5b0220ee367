"""Put trained weights and their finished bundle where the package keeps them, with a card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tercelet.contract.artefact import read_manifest, verify_file
from tercelet.evaluation.table import text_table
from tercelet.export.demonstration.packaged_weights import CLASS_MAP, PackagedWeights
from tercelet.training.checkpoint import load_checkpoint, write_checkpoint

CARD = "CARD.md"
RESULTS = "results.csv"


def pack_weights(
    place: PackagedWeights,
    *,
    detector: Path,
    density: Path,
    bundle: Path,
    class_map: Mapping[str, Sequence[str]],
    figures: Mapping[str, Any],
) -> None:
    """Replace what lies in `place`. detector, density: checkpoints of the trainings; bundle: made of the two.

    Both are stored in half precision; of what lies beside them the table of epochs and the card are kept, the
    detector's with `figures` (those of `evaluate --plan ... --json`) at its head. Raises as the functions of
    checkpoints do.
    """
    card = _figures_text(figures) + "\n\n" + _card_without_pictures(detector)
    _store(detector, place.detector, {CARD: card, CLASS_MAP: json.dumps(class_map, indent=2) + "\n"})
    _store(density, place.density, {CARD: _density_text(density)})
    if place.bundle.exists():
        shutil.rmtree(place.bundle)
    shutil.copytree(bundle, place.bundle)


def _store(checkpoint: Path, output: Path, notes: Mapping[str, str]) -> None:
    network, manifest = load_checkpoint(checkpoint)
    write_checkpoint(
        output,
        network,
        labels=manifest.labels,
        provenance=manifest.provenance,
        canvas=(manifest.preprocess.height, manifest.preprocess.width),
        notes={RESULTS: verify_file(checkpoint, manifest, RESULTS).read_bytes(), **notes},
        stored="fp16",
        overwrite=True,
    )


def _card_without_pictures(detector: Path) -> str:
    """The card of the training without its list of files, most of which do not travel."""
    text = (detector / CARD).read_text(encoding="utf-8")
    return text.partition("\n## Files\n")[0] + "\n"


def _density_text(density: Path) -> str:
    manifest = read_manifest(density)
    height, width = manifest.preprocess.height, manifest.preprocess.width
    return (
        "# The density network of the demo\n\n"
        f"A {manifest.detector.name} with {manifest.provenance.parameters:,} parameters that sees a frame at "
        f"{width}x{height} pixels and says how many objects each cell holds, so that canvases go where they "
        f"are.\n\nTrained on {manifest.provenance.source} of `tercelet synth aerial`: "
        f"{manifest.provenance.producer}. Every epoch is in {RESULTS}. Licence of the weights: "
        f"{manifest.provenance.licence}.\n\nIt has seen drawn scenes only.\n"
    )


def _figures_text(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            plan,
            f"{found['ap50']:.4f}",
            f"{found['ap']:.4f}",
            f"{found['recall']:.4f}",
            f"{found['recall_small']:.4f}",
            f"{found['inferences_per_frame']:.1f}",
        )
        for plan, found in figures["plans"].items()
    ]
    names = list(figures["class_mapping"]["classes"])
    by_class = [
        (name, *(f"{found['per_class'][name]['ap50']:.4f}" for found in figures["plans"].values()))
        for name in names
    ]
    table = text_table(("plan", "AP50", "AP", "recall", "recall small", "inferences"), rows)
    classes = text_table(("AP50 of class", *figures["plans"]), by_class)
    return (
        "# The detector of the demo\n\n"
        f"On {figures['frames']} scenes of 1920x1080 pixels with {figures['ground_truth']} objects, drawn by "
        "`tercelet synth aerial` from seeds that nothing else here used, with the finished bundle beside the "
        "density network (`tercelet evaluate BUNDLE TEST --plan full canvas --class-map class_map.json`):\n\n"
        f"```\n{table}\n\n{classes}\n```\n\n"
        f"Protocol: {figures['protocol']}\n\n"
        "It has seen drawn scenes only: on photographs it finds little. It is here to show the chain."
    )
