"""tercelet train for a density network."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, write_json
from tercelet.contract.preprocess import size_from_text
from tercelet.training.density_training.train_density import TrainedDensity, train_density


def train(arguments: argparse.Namespace, *, report: Callable[[str], object]) -> int:
    """Run it with the options of the command line."""
    if len(arguments.data) != 1:
        raise InputError(f"--data: expected one VisDrone folder, got {len(arguments.data)}")
    chosen = {
        name: getattr(arguments, name)
        for name in ("epochs", "batch", "sigma")
        if getattr(arguments, name) is not None
    }
    trained = train_density(
        arguments.detector,
        data=arguments.data[0],
        output=arguments.output,
        val=arguments.val,
        size=None if arguments.size is None else size_from_text(arguments.size),
        seed=arguments.seed,
        lr=arguments.lr,
        init=arguments.init,
        device=arguments.device,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
        report=report,
        **chosen,
    )
    if arguments.json is not None:
        write_json(
            arguments.json,
            {
                "output": str(trained.output),
                "best": asdict(trained.best),
                "epochs": [asdict(row) for row in trained.epochs],
                "manifest": asdict(read_manifest(trained.output)),
            },
        )
    print(_summary(trained), file=sys.stderr if arguments.json == STDOUT else sys.stdout)
    return 0


def _summary(trained: TrainedDensity) -> str:
    best, place = trained.best, shlex.quote(str(Path(trained.output)))
    return (
        f"{trained.output}: epoch {best.epoch} of {len(trained.epochs)}, "
        f"count off by {best.count_error:.1f} of {best.objects:.1f}, "
        f"densest tenth of the cells holds {best.coverage:.1%} of the objects\n"
        f"next: tercelet export {place}"
    )
