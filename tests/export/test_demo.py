"""The demo: the whole chain in one go, with weights or without, and never over somebody's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively_detector

from tercelet.contract.errors import InputError
from tercelet.export import demo
from tercelet.runtime.command_line import main


def test_without_weights_the_chain_runs_on_an_untrained_network_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--quick", "--json", "figures.json"]) == 0
    out = capsys.readouterr().out
    assert "the network is untrained and finds nothing: give --weights FILE --detector NAME" in out
    assert "evaluate   not done: no labelled frames (--data)" in out
    figures = json.loads(Path("figures.json").read_text())
    assert figures["trained"] is False
    assert [Path(p).name for p in figures["pictures"]] == ["scene0.png", "scene1.png", "scene2.png"]
    assert figures["comparison"]["agrees"] is True
    assert Path("demo/bundle/manifest.json").is_file()


def test_own_weights_and_images_replace_an_earlier_demo_and_only_its_pictures_are_named(
    tmp_path: Path,
) -> None:
    detector = lively_detector("yolov5n", classes=2)
    torch.save({"model": detector.state_dict()}, tmp_path / "mine.pt")
    for name in ("first", "second"):
        image = tmp_path / f"{name}.npy"

        np.save(image, np.full((64, 96, 3), 100, np.uint8))
        result = demo(
            weights=tmp_path / "mine.pt",
            detector="yolov5n",
            images=[image],
            output=tmp_path / "out",
            quick=True,
        )
        assert [path.stem for path in result.pictures] == [name]
        assert result.trained
    assert result.benchmark.bundles[0].total_ms.count == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "nowhere.pt"}, "expected weights and detector together"),
        ({"detector": "yolov5n"}, "expected weights and detector together"),
        ({"weights": "nowhere.pt", "detector": "yolov5n"}, "nowhere.pt: expected a file with weights"),
        ({"json": ""}, "expected a file name, or - for stdout"),
    ],
)
def test_a_demo_that_cannot_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        demo(**options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_earlier_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already exists and is no earlier demo's"):
        demo(output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
