"""tercelet train for a detector of clouds of points."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable

from tercelet.contract.json_output import STDOUT, write_json
from tercelet.training.commands.detector_options import options_from
from tercelet.training.commands.train_detector import given
from tercelet.training.point_training.augmentation import RoomAugmentation
from tercelet.training.point_training.recipe import point_recipe
from tercelet.training.point_training.train_points import TrainedPoints, train_points

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
    "ema_decay": "ema_decay",
    "ema_ramp": "ema_ramp",
    "clip_norm": "clip_norm",
    "amp": "amp",
    "patience": "patience",
    "validate_every": "validate_every",
    "threads": "threads",
}


def train(arguments: argparse.Namespace, *, report: Callable[[str], object]) -> int:
    """Run it with the options of the command line."""
    trained = train_points(
        arguments.detector,
        data=arguments.data,
        output=arguments.output,
        val=arguments.val,
        points=arguments.points,
        recipe=point_recipe(seed=arguments.seed, **given(arguments, _RECIPE)),
        augmentation=RoomAugmentation(**given(arguments, {"flip": "flip", "degrees": "degrees"})),
        init=arguments.init,
        device=arguments.device,
        licence=arguments.licence,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        options=options_from(arguments.option or ()),
        report=report,
        **given(arguments, {"workers": "workers"}),
    )
    if arguments.json is not None:
        write_json(arguments.json, trained.record())
    print(_summary(trained), file=sys.stderr if arguments.json == STDOUT else sys.stdout)
    return 0


def _summary(trained: TrainedPoints) -> str:
    return (
        f"{trained.output}: epoch {trained.best_epoch} of {len(trained.rows)}, mAP at IoU 0.25 "
        f"{trained.ap25:.3f}, at 0.5 {trained.ap50:.3f} on {trained.objects} objects of the validation\n"
        f"pictures and card: {trained.output / 'CARD.md'}\n"
        f"next: tercelet export {shlex.quote(str(trained.output))}"
    )
