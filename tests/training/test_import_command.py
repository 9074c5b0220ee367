"""The verb import: real and made files to checkpoints, and what it says when it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.runtime.command_line import main
from tercelet.training import build, import_weights, load_checkpoint, read_weights

OFFICIAL = "data/weights/yolov5n_v6.1-v7.0_official.pt"
NAMEPLATE = "data/weights/yolov8n-sm_nameplate_ultralytics-8.3.38.pt"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build("yolov5n", classes=1).state_dict()


@pytest.fixture
def weights(state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One-class weights in the current folder, with everything a file can state."""
    monkeypatch.chdir(tmp_path)
    checkpoint = {
        "model": {
            name: value.half() if value.is_floating_point() else value for name, value in state.items()
        },
        "names": {0: "ship"},
        "license": "MIT",
        "date": "2024-01-01",
        "version": "1.2",
        "train_args": {"imgsz": 320},
    }
    torch.save(checkpoint, "ship.pt")
    return Path("ship.pt")


def test_the_official_yolov5n_file_becomes_a_checkpoint(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "checkpoint"
    assert main(["import", str(shared / OFFICIAL), "--detector", "yolov5n", "-o", str(output)]) == 0
    out = capsys.readouterr().out
    assert "80 (person, bicycle, car, ...)" in out
    assert "1,872,157 in 349 tensors" in out
    assert "licence     not stated in the file" in out
    assert f"tercelet export {output}" in out
    detector, manifest = load_checkpoint(output)
    assert sum(p.numel() for p in detector.parameters()) == 1_872_157
    upstream = read_weights(shared / OFFICIAL).state
    assert all(np.array_equal(value, upstream[name]) for name, value in detector.state_dict().items())
    assert manifest.provenance.sha256 == "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"
    assert manifest.provenance.source == "yolov5n_v6.1-v7.0_official.pt"


def test_the_file_is_imported_as_it_states(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(weights), "--detector", "yolov5n", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["output"] == "ship-checkpoint"
    facts = record["manifest"]["provenance"]
    assert (facts["licence"], facts["date"], facts["image_size"]) == ("MIT", "2024-01-01", 320)
    assert (facts["format"], facts["producer"], facts["source"]) == ("torch zip", "1.2", "ship.pt")
    assert record["manifest"]["labels"] == ["ship"]
    assert record["manifest"]["preprocess"]["height"] == 320
    assert "tercelet export ship-checkpoint" in err
    assert read_manifest("ship-checkpoint").files.keys() == {"weights.safetensors"}


def test_options_of_the_command_are_taken(weights: Path) -> None:
    Path("names.txt").write_text("boat\n")
    arguments = ["--labels", "names.txt", "--licence", "CC0", "--classes", "1", "--json", "out.json"]
    assert main(["import", str(weights), "--detector", "yolov5n", "-o", "c", *arguments]) == 0
    manifest = read_manifest("c")
    assert manifest.labels == ("boat",)
    assert manifest.provenance.licence == "CC0 (given at import; the file states: MIT)"
    assert json.loads(Path("out.json").read_text())["manifest"]["labels"] == ["boat"]


def test_an_older_checkpoint_is_replaced_only_when_asked(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(weights), "--detector", "yolov5n"]) == 0
    assert main(["import", str(weights), "--detector", "yolov5n"]) == 2
    assert "ship-checkpoint: already exists" in capsys.readouterr().err
    assert main(["import", str(weights), "--detector", "yolov5n", "--overwrite"]) == 0


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_safetensors_and_wrapped_names_are_imported(prefix: str, state: Any, tmp_path: Path) -> None:
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "w.safetensors")
    output = import_weights(tmp_path / "w.safetensors", detector="yolov5n", output=tmp_path / "c")
    detector, manifest = load_checkpoint(output)
    assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
    assert manifest.labels == ("class_0",)


def test_labels_may_be_given_as_names_and_replace_unusable_ones(state: Any, tmp_path: Path) -> None:
    torch.save({"model": dict(state), "names": {3: "ship"}}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="class names: expected indices"):
        import_weights(tmp_path / "w.pt", detector="yolov5n", output=tmp_path / "c")
    output = import_weights(tmp_path / "w.pt", detector="yolov5n", output=tmp_path / "c", labels=["boat"])
    assert read_manifest(output).labels == ("boat",)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--detector", "yolov9n"], "unknown detector 'yolov9n': did you mean"),
        (["--detector", "yolov5s"], "yolov5s: the weights do not fit: .* misshapen.* they fit yolov5n"),
        (
            ["--detector", "yolov5n", "--classes", "80"],
            "classes=80 was asked for, but the weights have classes=1",
        ),
        (["--detector", "yolov5n", "--labels", "none.txt"], "none.txt: expected a text file"),
        (
            ["--detector", "yolov5n", "--labels", "two.txt"],
            "expected 1 class names, .* got 2 from the labels",
        ),
        (["--detector", "yolov5n", "-o", "two.txt"], "two.txt: already exists; choose another -o"),
        (["--detector", "yolov5n", "--classes", "many"], "argument --classes: invalid int value"),
        (["--detector", "yolov5n", "-o", ""], "output: expected the name of a folder, got an empty one"),
        (["--detector", "yolov5n", "--labels", ""], "labels: expected a text file, got an empty name"),
        (["--detector", "yolov5n", "--json", ""], "--json: expected a file name"),
        (["--detector", "yolov5n", "--json", "ship.pt"], "ship.pt: --json would overwrite this file"),
        (["--detector", "yolov5n", "--json", "."], "expected a file for the results, got a folder"),
        (["--detector", "yolov5n", "--json", "two.txt/a.json"], "two.txt is a file"),
        (["--detector", "yolov5n", "-o", "c", "--json", "c"], "expected a place beside c"),
        (["--detector", "yolov5n", "-o", "c", "--json", "c/manifest.json"], "expected a place beside c"),
        (["--detector", "yolov5n", "--json", "ship-checkpoint/a.json"], "place beside ship-checkpoint"),
        ([], "required: --detector"),
    ],
)
def test_a_wrong_request_is_refused_in_a_line_and_leaves_nothing(
    arguments: list[str], match: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("two.txt").write_text("boat\nship\n")
    assert main(["import", str(weights), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(match, err), err
    assert sorted(path.name for path in Path().iterdir()) == ["ship.pt", "two.txt"]


def test_json_may_not_replace_weights_of_any_name(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = weights.rename("ship").read_bytes()
    assert main(["import", "ship", "--detector", "yolov5n", "--json", "./ship"]) == 2
    assert "--json ship: expected a place beside ship" in capsys.readouterr().err
    assert Path("ship").read_bytes() == before


@pytest.mark.parametrize("stated", [True, False])
def test_made_up_class_names_are_said_in_a_line(
    stated: bool, state: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": dict(state), **({"names": ["ship"]} if stated else {})}, path)
    assert main(["import", str(path), "--detector", "yolov5n", "-o", str(tmp_path / "c")]) == 0
    err = capsys.readouterr().err
    assert err == (
        ""
        if stated
        else f"{path}: has no class names; made up class_0, give the right ones with --labels FILE\n"
    )


def test_the_next_command_can_be_pasted(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(weights), "--detector", "yolov5n", "-o", "my ship; ls"]) == 0
    assert capsys.readouterr().out.endswith("tercelet export 'my ship; ls'\n")


@pytest.mark.parametrize(
    "arguments", [["none.pt", "--detector", "yolov9n"], ["page.pt", "--detector", "yolov5n"]]
)
def test_what_is_refused_at_once_is_refused_without_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html>")
    code = (
        "import sys\n"
        "from tercelet.runtime.command_line import main\n"
        "code = main(['import', *sys.argv[1:]])\n"
        "sys.exit(code if 'torch' not in sys.modules else 99)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert re.search("unknown detector 'yolov9n'|got a web page", done.stderr)


def test_names_of_another_number_than_the_classes_are_refused(state: Any, tmp_path: Path) -> None:
    torch.save({"model": dict(state), "names": ["a", "b"]}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="expected 1 class names, .* got 2 from the names in the file"):
        import_weights(tmp_path / "w.pt", detector="yolov5n", output=tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_weights_that_are_no_finite_numbers_are_refused(state: Any, tmp_path: Path) -> None:
    broken = {**state, "model.0.conv.weight": torch.full_like(state["model.0.conv.weight"], float("nan"))}
    torch.save(broken, tmp_path / "w.pt")
    with pytest.raises(InputError, match="expected finite numbers"):
        import_weights(tmp_path / "w.pt", detector="yolov5n", output=tmp_path / "c")


@pytest.mark.parametrize(
    ("file", "detector", "match"),
    [
        (
            NAMEPLATE,
            "yolov8n",
            "98 of 355 names missing.*its head has 2 levels, those of the detectors here have 3",
        ),
        (OFFICIAL, "yolov8n", "the weights do not fit.*they fit yolov5n"),
        ("data/weights/broken/yolov5n_truncated.pt", "yolov5n", "cut off or damaged"),
        ("data/weights/broken/yolov8s-worldv2_lfs-pointer.pt", "yolov8s", "git-LFS pointer"),
        ("data/weights/votenet_sunrgbd_v2_torchnames.safetensors", "yolov5n", "the weights do not fit"),
    ],
)
def test_a_real_file_that_does_not_fit_is_refused_in_a_line_and_leaves_nothing(
    file: str,
    detector: str,
    match: str,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(shared / file), "--detector", detector]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(match, err), err
    assert not list(tmp_path.iterdir())
