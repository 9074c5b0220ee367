"""How the weights of the demo are made: scenes, two trainings, bundle, figures, from nothing to the package.

    python -m tercelet.export.demonstration.weights_recipe WORK [--steps scenes detector ...]

`make demo-weights` runs it. Every step writes below WORK and is left out where its result is there already,
so that it goes on where it was interrupted (the detector's training too). About two hours on two cores. The
last step, `pack`, replaces what lies in the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tercelet.evaluation.plan_comparing import evaluate_plans
from tercelet.evaluation.synthetic import synth_aerial
from tercelet.export.aerial_bundle import bundle_aerial
from tercelet.export.demonstration.packaged_weights import packaged_weights
from tercelet.export.demonstration.packed_weights import pack_weights
from tercelet.export.exporting import export
from tercelet.training import round_checkpoint, train_density, train_detector
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.samples import Augmentation, Windows

LICENCE = "Apache-2.0"
DETECTOR, DENSITY = "yolo11n", "density-lite"
# Names as the DOTA data set has them; two-wheelers go with the people on them.
CLASSES = {
    "person or cycle": ["pedestrian", "people", "bicycle", "motor"],
    "small vehicle": ["car", "van", "tricycle", "awning-tricycle"],
    "large vehicle": ["truck", "bus"],
}
# Seeds of the scenes, far from each other and from those that `tercelet demo` draws (40000 and up).
SCENES = {"train": (640, 20000), "val": (32, 29000), "test": (200, 30000)}
# First everything at every scale, then a closer look at the scales of the canvases, with fewer mosaics, whose
# quarters cut large vehicles at these scales.
RECIPE = Recipe(
    epochs=13,
    batch=16,
    nominal_batch=16,
    height=320,
    width=320,
    lr=0.0015,
    schedule="cosine",
    last_lr=0.02,
    warmup_epochs=0.5,
    ema_decay=0.999,
    ema_ramp=500,
    close_mosaic=3,
    amp="bf16",
    threads=2,
)
CLOSER = replace(RECIPE, epochs=4, lr=0.001, warmup_epochs=0.3, close_mosaic=1, seed=1)
LONGER = replace(CLOSER, epochs=6, close_mosaic=2, seed=2)
# At the size of the canvases: what is larger than 320 px on them, roofs for one, was never seen before.
LARGER = replace(
    CLOSER, epochs=4, height=640, width=640, batch=8, nominal_batch=8, lr=0.0005, close_mosaic=2, seed=3
)
CLOSE_WINDOWS = Windows(share=1.0, scale=(0.8, 4.0), per_frame=8)
STAGES = (
    ("detector-wide", None, RECIPE, Augmentation(), Windows(share=1.0, scale=(0.4, 4.0), per_frame=8)),
    ("detector-close", "detector-wide", CLOSER, Augmentation(mosaic=0.25), CLOSE_WINDOWS),
    ("detector-longer", "detector-close", LONGER, Augmentation(mosaic=0.25), CLOSE_WINDOWS),
    (
        "detector",
        "detector-longer",
        LARGER,
        Augmentation(mosaic=0.25),
        Windows(share=1.0, scale=(0.7, 3.5), per_frame=2),
    ),
)
DENSITY_EPOCHS = 9
# Of the bundle: chosen on the validation scenes.
SIZE, BATCH, OBJECT_PX, ENLARGING, CANVASES, IOU = 640, 17, 26.0, 0.9, 16, 0.5
EVIDENCE = ("density", "full")


@dataclass(frozen=True)
class Step:
    """made: what tells that it is done, below the work folder. run: makes it."""

    name: str
    made: str
    run: Callable[[Path], object]


def main() -> None:
    """Run the steps that are missing."""
    parser = argparse.ArgumentParser(description="Make the weights of the demo.")
    parser.add_argument("work", type=Path, help="folder for everything on the way")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS])
    arguments = parser.parse_args()
    for step in STEPS:
        if arguments.steps and step.name not in arguments.steps:
            continue
        if (arguments.work / step.made).exists():
            _say(f"{step.name}: there already ({step.made})")
            continue
        _say(step.name)
        step.run(arguments.work)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _scenes(work: Path) -> None:
    for name, (count, seed) in SCENES.items():
        synth_aerial(work / name, count=count, seed=seed)


def _detector(work: Path) -> None:
    for name, init, recipe, augmentation, windows in STAGES:
        if (work / name / "manifest.json").is_file():
            continue
        train_detector(
            DETECTOR,
            data=work / "train",
            val=work / "val",
            output=work / name,
            init=None if init is None else work / init,
            class_map=CLASSES,
            recipe=recipe,
            augmentation=augmentation,
            windows=windows,
            workers=2,
            cache="ram",
            stored="fp16",
            licence=LICENCE,
            resume=(work / f"{name}.training" / "state.json").is_file(),
            report=_say,
        )


def _density(work: Path) -> None:
    train_density(
        DENSITY,
        data=work / "train",
        val=work / "val",
        output=work / "density-fp32",
        epochs=DENSITY_EPOCHS,
        licence=LICENCE,
        overwrite=True,
        report=_say,
    )
    round_checkpoint(work / "density-fp32", work / "density")


def _bundle(work: Path) -> None:
    detector = export(
        work / "detector",
        output=work / "detector-bundle",
        size=(SIZE, SIZE),
        batch=BATCH,
        stored="fp16",
        frames=_some_frames(work),
        overwrite=True,
    )
    density = export(
        work / "density",
        output=work / "density-bundle",
        stored="fp16",
        frames=_some_frames(work),
        overwrite=True,
    )
    bundle_aerial(
        detector,
        density,
        output=work / "bundle",
        plan="canvas",
        evidence=EVIDENCE,
        canvases=CANVASES,
        object_px=OBJECT_PX,
        enlarging=ENLARGING,
        iou=IOU,
        overwrite=True,
    )


def _some_frames(work: Path) -> list[Path]:
    return sorted((work / "val" / "images").iterdir())[:4]


def _figures(work: Path) -> None:
    evaluate_plans(
        work / "bundle",
        work / "test",
        plans=("full", "canvas"),
        class_map=CLASSES,
        json=work / "figures.json",
    )


def _pack(work: Path) -> None:
    figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    pack_weights(
        packaged_weights(),
        detector=work / "detector",
        density=work / "density",
        bundle=work / "bundle",
        class_map=CLASSES,
        figures=figures,
    )
    (work / "packed").touch()


STEPS = (
    Step("scenes", "test/annotations.json", _scenes),
    Step("detector", "detector/manifest.json", _detector),
    Step("density", "density/manifest.json", _density),
    Step("bundle", "bundle/manifest.json", _bundle),
    Step("figures", "figures.json", _figures),
    Step("pack", "packed", _pack),
)

if __name__ == "__main__":
    main()
