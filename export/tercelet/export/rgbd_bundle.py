"""A network with image votes and the 2D detector that makes them in one bundle, so that a robot opens one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tercelet.contract.artefact import (
    check_output_free,
    finish_artefact,
    new_artefact,
    read_manifest,
    verify_file,
)
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest, PictureVotesRecord
from tercelet.export.copying import copy_bundle, copy_file
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline

DETECTOR_FOLDER = "detector"
ALONE_FOLDER = "without-picture"
# Where the classes of SUN RGB-D have another name in COCO, which most published 2D detectors know.
COCO_NAMES: Mapping[str, str] = {"couch": "sofa", "dining table": "table"}


def bundle_rgbd(
    network: str | Path,
    detector: str | Path,
    *,
    output: str | Path | None = None,
    class_map: Mapping[str, str] | None = None,
    without_picture: str | Path | None = None,
    score_threshold: float | None = None,
    overwrite: bool = False,
    report: Callable[[str], object] | None = None,
) -> Path:
    """Put the bundle of a 2D detector into that of a network with image votes; returns the new folder.

    network: bundle of imvotenet; a 2D detector that it holds already is replaced. detector: bundle of any 2D
    detector. class_map: its label to a class of the network; None takes labels of the same name, and COCO's
    names of the same things. without_picture: bundle of a network of the same classes that needs no picture,
    votenet, for frames that have none; None keeps the one that network's bundle holds. score_threshold: boxes
    below it are not shown to the network, None for as it was. output: default is the network's name with
    -rgbd. Files are compared with their sha256, copied, and the new bundle is opened once, golden pairs
    included. report: gets each step. Raises InputError, CheckFailedError; then nothing is left on disk.
    """
    network, detector, say = Path(network), Path(detector), report or (lambda line: None)
    manifest, record = _network_parts(network)
    beside = _detector_manifest(detector)
    mapped = _class_map(class_map, beside.labels, record.classes)
    record = replace(
        record,
        detector=DETECTOR_FOLDER,
        class_map=mapped,
        score_threshold=record.score_threshold if score_threshold is None else score_threshold,
    )
    inner = {DETECTOR_FOLDER: detector}
    if without_picture is not None:
        _check_alone(Path(without_picture), manifest)
        record = replace(record, without_picture=ALONE_FOLDER)
        inner[ALONE_FOLDER] = Path(without_picture)
    if output is None:
        output = network.resolve().name.removesuffix("-bundle") + "-rgbd"
    output = check_output_free(output, kind="bundle", overwrite=overwrite)
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        for name in manifest.files:
            file = verify_file(network, manifest, name)  # compared also where another takes its place
            if name.split("/")[0] not in inner:
                copy_file(file, folder / name)
        for name, source in inner.items():
            copy_bundle(source, folder / name)
        finish_artefact(folder, replace(manifest, picture_votes=record))
        with open_pipeline(folder):
            pass
    votes = ", ".join(f"{label} for {name}" if label != name else label for label, name in mapped.items())
    say(f"the 2D detector's {votes} give votes")
    without = [name for name in record.classes if name not in mapped.values()]
    if without:
        say(f"no label of the 2D detector gives votes for {', '.join(without)}")
    say(f"wrote {output}")
    return output


def read_label_map(path: str | Path) -> dict[str, str]:
    """A JSON object of label to class; InputError for anything else."""
    path = given_path(path, name="class_map")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no text, no JSON, endless digits
        raise InputError(f"{path}: expected a JSON object of label to class: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(
            f'{path}: expected a JSON object of label to class, such as {{"couch": "sofa"}}, got '
            f"{found!r:.60}"
        )
    return found


def _network_parts(folder: Path) -> tuple[Manifest, PictureVotesRecord]:
    manifest = read_manifest(folder)
    if manifest.kind != "bundle" or manifest.picture_votes is None:
        raise InputError(
            f"{folder}: expected the bundle of a network with image votes, such as imvotenet, got a "
            f"{manifest.kind} of {manifest.detector.name}"
            + ("; tercelet export it first" if manifest.kind != "bundle" else "")
        )
    return manifest, manifest.picture_votes


def _detector_manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.kind != "bundle" or manifest.pipeline not in ("single", "density_crops"):
        raise InputError(
            f"{folder}: expected the bundle of a 2D detector, got a {manifest.kind} of "
            f"{manifest.detector.name}" + ("; tercelet export it first" if manifest.kind != "bundle" else "")
        )
    return manifest


def _check_alone(folder: Path, network: Manifest) -> None:
    manifest = read_manifest(folder)
    if manifest.kind != "bundle" or manifest.pipeline != "rgbd" or manifest.picture_votes is not None:
        raise InputError(
            f"{folder}: expected the bundle of a network that needs no picture, such as votenet, got a "
            f"{manifest.kind} of {manifest.detector.name}"
        )
    if manifest.labels != network.labels:
        raise InputError(
            f"{folder}: expected the classes {', '.join(network.labels)}, got {', '.join(manifest.labels)}"
        )


def _class_map(
    given: Mapping[str, str] | None, labels: tuple[str, ...], classes: tuple[str, ...]
) -> dict[str, str]:
    """Label to class, in the order of the labels; InputError for names that are unknown, and for none."""
    if given is None:
        chosen = {
            label: COCO_NAMES.get(label, label) for label in labels if COCO_NAMES.get(label, label) in classes
        }
        if not chosen:
            raise InputError(
                f"class map: no label of the 2D detector ({', '.join(labels[:20])}) is a class of the "
                f"network ({', '.join(classes)}); say which are with --class-map FILE, such as "
                '{"settee": "sofa"}'
            )
        return chosen
    for label, name in given.items():
        if label not in labels:
            raise InputError(
                f"class map: expected labels of the 2D detector ({', '.join(labels[:20])}), got {label!r}"
            )
        if name not in classes:
            raise InputError(
                f"class map: {label}: expected a class of the network ({', '.join(classes)}), got {name!r}"
            )
    if not given:
        raise InputError("class map: expected at least one label, got none")
    return {label: given[label] for label in labels if label in given}
