"""The demo of somebody's own weights: the whole chain from the import on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively_detector

from tercelet.contract.errors import MissingDependencyError
from tercelet.export import demo
from tercelet.export.demonstration import WeightsDemo, installed
from tercelet.runtime.command_line import main


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    detector = lively_detector("yolov5n", classes=2)
    torch.save({"model": detector.state_dict()}, tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def test_without_torch_the_extra_is_named_and_nothing_is_made(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "_is_found", lambda package: package != "onnx")
    with pytest.raises(MissingDependencyError, match=r"needs the package onnx, .*tercelet\[export\]"):
        demo(weights=mine, detector="yolov5n", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_chain_runs_on_generated_pictures_and_again_on_given_ones_in_the_same_folder(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--weights", str(mine), "--detector", "yolov5n"]
    assert main(["demo", *given, "--quick", "--json", "figures.json"]) == 0
    out = capsys.readouterr().out
    assert "evaluate   not done: no labelled frames (--data)" in out
    assert "benchmark  p50" in out
    figures = json.loads(Path("figures.json").read_text())
    assert [Path(p).name for p in figures["pictures"]] == ["scene0.png", "scene1.png", "scene2.png"]
    assert figures["comparison"]["agrees"] is True
    assert Path("demo/bundle/manifest.json").is_file()
    np.save("mine.npy", np.full((64, 96, 3), 100, np.uint8))
    result = demo(weights=mine, detector="yolov5n", images=["mine.npy"], quick=True)
    assert isinstance(result, WeightsDemo)
    assert [path.stem for path in result.pictures] == ["mine"]
    assert result.benchmark.bundles[0].total_ms.count == 20
