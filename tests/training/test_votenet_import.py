"""The verb `import` with weights of VoteNet: a checkpoint that says all that is needed to run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.contract.session import SessionOptions
from tercelet.runtime.command_line import main
from tercelet.training import load_checkpoint, load_upstream, read_weights
from tercelet.training.torch_session import open_session

VARIANT = (
    "proposal_radius=0.8",
    "proposal_samples=64",
    "proposal_sampling=vote",
    "normalised_votes=false",
    "interpolation=squared",
)
FILES = {"votenet_sunrgbd_v2_keras.h5": (), "votenet_sunrgbd_v2_torchnames.safetensors": VARIANT}


@pytest.mark.parametrize("name", FILES)
def test_both_files_become_checkpoints_that_give_the_same_boxes(
    shared: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, output = shared / "data" / "weights" / name, tmp_path / "checkpoint"
    options = [word for option in FILES[name] for word in ("--option", option)]
    assert main(["import", str(weights), "--detector", "votenet", "-o", str(output), *options]) == 0
    shown = capsys.readouterr()
    assert "points      20000 of a cloud" in shown.out
    assert "rules       proposal_radius=0.8, proposal_samples=64" in shown.out
    assert ("the file cannot tell" in shown.out) == name.endswith("safetensors")
    assert "made up" not in shown.err
    manifest = read_manifest(output)
    assert manifest.labels == SUNRGBD_CLASSES
    assert manifest.detector.options["proposal_radius"] == 0.8
    assert manifest.postprocess is not None
    assert (manifest.postprocess.score_threshold, manifest.postprocess.iou_threshold) == (0.05, 0.25)
    loaded, _ = load_checkpoint(output)
    direct = load_upstream("votenet", read_weights(weights).state, **dict(manifest.detector.options))
    cloud = torch.from_numpy(np.random.default_rng(0).random((1, 500, 4), np.float32) * 2)
    with torch.inference_mode():
        for found, expected in zip(loaded(cloud), direct(cloud), strict=True):
            assert torch.equal(found, expected)


def test_what_looks_at_pictures_refuses_its_checkpoint_and_says_what_to_do(
    shared: Path, tmp_path: Path
) -> None:
    from tercelet.runtime import run
    from tercelet.training import import_weights

    weights = shared / "data" / "weights" / "votenet_sunrgbd_v2_keras.h5"
    output = import_weights(weights, detector="votenet", output=tmp_path / "checkpoint")
    wanted = "got votenet, which looks at clouds of points; tercelet export makes it a bundle"
    with pytest.raises(InputError, match=wanted):
        open_session(output, read_manifest(output), SessionOptions())
    with pytest.raises(InputError, match="got the checkpoint of votenet, which looks at clouds .* export"):
        run(output, [tmp_path / "room.npy"])
