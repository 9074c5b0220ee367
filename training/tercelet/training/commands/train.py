"""tercelet train: a density network from frames with annotations."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, check_json_place, write_json
from tercelet.contract.preprocess import size_from_text

if TYPE_CHECKING:
    from tercelet.training.density_training.train_density import TrainedDensity

SUMMARY = "train a density network on VisDrone frames"
REQUIRES = (("torch", "train"), ("safetensors", "train"), ("cv2", "train"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("detector", metavar="NETWORK", help="mcnn or density-lite")
    parser.add_argument(
        "--data", required=True, metavar="VISDRONE", help="folder with images/ and annotations/"
    )
    parser.add_argument("-o", "--output", required=True, metavar="CHECKPOINT", help="folder to write")
    parser.add_argument(
        "--val", metavar="VISDRONE", help="folder to validate on (default: every eighth frame)"
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--size", metavar="SIDE|HxW", help="canvas in pixels (default: the network's own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="views a step (default 8)")
    parser.add_argument("--lr", type=float, help="learning rate of Adam (default: the network's own)")
    parser.add_argument(
        "--sigma", type=float, default=6.0, help="size of an object's spot in canvas pixels (default 6)"
    )
    parser.add_argument("--init", metavar="CHECKPOINT|WEIGHTS", help="what to start from")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights made")
    parser.add_argument("--overwrite", action="store_true", help="replace an older checkpoint of that name")
    parser.add_argument("--json", metavar="FILE", help="write every epoch's figures as JSON; - for stdout")


def execute(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from tercelet.training.density_training.train_density import train_density

    check_json_place(arguments.json)
    if arguments.seed < 0:
        raise InputError(f"--seed: expected 0 or more, got {arguments.seed}")
    trained = train_density(
        arguments.detector,
        data=arguments.data,
        output=arguments.output,
        val=arguments.val,
        epochs=arguments.epochs,
        size=None if arguments.size is None else size_from_text(arguments.size),
        seed=arguments.seed,
        batch=arguments.batch,
        lr=arguments.lr,
        sigma=arguments.sigma,
        init=arguments.init,
        device=arguments.device,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
        report=lambda line: print(line, file=sys.stderr, flush=True),
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
