"""tercelet train for a detector."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, write_json
from tercelet.contract.preprocess import size_from_text
from tercelet.training.commands.detector_options import options_from
from tercelet.training.detector_training.data import DataPlaces
from tercelet.training.detector_training.data_checks import checked_data
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.samples import Augmentation, Windows
from tercelet.training.detector_training.train_detector import TrainedDetector, train_detector

_RECIPE = {
    "epochs": "epochs",
    "batch": "batch",
    "optimizer": "optimizer",
    "lr": "lr",
    "last_lr": "last_lr",
    "schedule": "schedule",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "warmup": "warmup_epochs",
    "nominal_batch": "nominal_batch",
    "ema_decay": "ema_decay",
    "ema_ramp": "ema_ramp",
    "clip_norm": "clip_norm",
    "amp": "amp",
    "offset_lr": "offset_lr",
    "close_mosaic": "close_mosaic",
    "patience": "patience",
    "validate_every": "validate_every",
    "freeze": "freeze",
    "threads": "threads",
}
_AUGMENTATION = {
    "mosaic": "mosaic",
    "mixup": "mixup",
    "degrees": "degrees",
    "translate": "translate",
    "scale": "scale",
    "shear": "shear",
    "flip": "flip_horizontal",
    "flip_vertical": "flip_vertical",
}
_OTHERS = ("format", "images", "split", "class_map", "workers", "cache", "stored", "tensorboard")


def train(arguments: argparse.Namespace, *, report: Callable[[str], object]) -> int:
    """Run it with the options of the command line."""
    if arguments.check:
        return _check(arguments, report=report)
    trained = train_detector(
        arguments.detector,
        data=arguments.data,
        output=arguments.output,
        val=arguments.val,
        recipe=recipe_from(arguments),
        augmentation=augmentation_from(arguments),
        windows=windows_from(arguments),
        init=arguments.init,
        device=arguments.device,
        licence=arguments.licence,
        resume=arguments.resume,
        strict=arguments.strict,
        overwrite=arguments.overwrite,
        options=options_from(arguments.option or ()),
        report=report,
        **given(arguments, {name: name for name in _OTHERS}),
    )
    if arguments.json is not None and trained.leads:
        write_json(arguments.json, trained.record())
    if trained.leads:
        print(_summary(trained), file=sys.stderr if arguments.json == STDOUT else sys.stdout)
    return 0


def _check(arguments: argparse.Namespace, *, report: Callable[[str], object]) -> int:
    """Look at the data and say what is wrong; 1 where something is."""
    places = DataPlaces(
        arguments.data,
        val=arguments.val,
        **given(arguments, {name: name for name in ("format", "images", "split", "class_map")}),
    )
    data = checked_data(places, strict=arguments.strict, say=report, decode=True)
    objects = ", ".join(f"{name} {count}" for name, count in data.objects().items())
    print(f"{data.frames} frames to train on, {objects}: no errors")
    return 0


def recipe_from(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for."""
    chosen = given(arguments, _RECIPE)
    if arguments.size is not None:
        size = size_from_text(arguments.size)
        chosen["height"], chosen["width"] = (size, size) if isinstance(size, int) else size
    return Recipe(seed=arguments.seed, **chosen)


def augmentation_from(arguments: argparse.Namespace) -> Augmentation:
    """The augmentation that the options ask for."""
    chosen = given(arguments, _AUGMENTATION)
    if arguments.hsv is not None:
        chosen["hsv"] = _numbers(
            arguments.hsv, 3, "--hsv", "hue, saturation and value, such as 0.015,0.7,0.4"
        )
    return Augmentation(**chosen)


def windows_from(arguments: argparse.Namespace) -> Windows | None:
    """The windows that the options ask for; InputError for their details without --windows."""
    if not arguments.windows:
        for name in ("window_scale", "windows_per_frame"):
            if getattr(arguments, name) is not None:
                raise InputError(f"--{name.replace('_', '-')}: expected --windows SHARE with it, got none")
        return None
    chosen: dict[str, Any] = {"share": arguments.windows}
    if arguments.window_scale is not None:
        what = "lowest and highest scale, such as 0.5,2"
        chosen["scale"] = _numbers(arguments.window_scale, 2, "--window-scale", what)
    if arguments.windows_per_frame is not None:
        chosen["per_frame"] = arguments.windows_per_frame
    return Windows(**chosen)


def given(arguments: argparse.Namespace, names: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, under the names that the function wants."""
    return {
        wanted: getattr(arguments, name)
        for name, wanted in names.items()
        if getattr(arguments, name) is not None
    }


def _numbers(text: str, count: int, option: str, what: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise InputError(f"{option}: expected {what}, got {text!r}")
    return numbers


def _summary(trained: TrainedDetector) -> str:
    place = shlex.quote(str(Path(trained.output)))
    return (
        f"{trained.output}: epoch {trained.best_epoch} of {len(trained.rows)}, "
        f"AP {trained.ap:.3f}, AP50 {trained.ap50:.3f} on {trained.objects} objects of the validation\n"
        f"pictures and card: {trained.output / 'CARD.md'}\n"
        f"next: tercelet export {place}"
    )
