"""AKConv on real weights and real frames: import, export, build-ops, run, evaluate, compare.

No trained AKConv weights can be had. Those of YOLOv5n, put into AKConv layers, compute the same but for the
border.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from akconv_weights import TAPS, akconv_state_from_yolov5

from tercelet.contract.artefact import read_manifest
from tercelet.evaluation import compare, evaluate
from tercelet.runtime.command_line import main
from tercelet.training import read_weights

WEIGHTS = Path("data", "weights", "yolov5n_v6.1-v7.0_official.pt")
# yolov5n itself has AP50 0.616 and AP 0.364 on these four frames; the borders differ.
LEAST_AP50, LEAST_AP = 0.58, 0.30
# Between two forms of the same network on the same frames.
AP_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def work(shared: Path, yolov5n_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real.pt and labels.txt, and what the commands make of them."""
    folder = tmp_path_factory.mktemp("akconv")
    state = read_weights(shared / WEIGHTS).state
    torch.save({"model": akconv_state_from_yolov5(state)}, folder / "real.pt")
    (folder / "labels.txt").write_text("\n".join(read_manifest(yolov5n_checkpoint).labels))
    frames = [str(shared / "data" / "coco" / name) for name in ("bus.jpg", "coco8/images/val")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TERCELET_CACHE", str(folder / "cache"))
        imported = ["import", "real.pt", "--detector", "yolov5n-akconv-official", "--labels", "labels.txt"]
        assert main(imported) == 0
        assert main(["export", "real-checkpoint", "--frames", *frames]) == 0
        if shutil.which("cmake") and shutil.which("g++"):
            assert main(["build-ops", "real-bundle", "-o", "native-bundle"]) == 0
    return folder


def test_the_taps_come_from_the_weights(work: Path) -> None:
    detector = read_manifest(work / "real-checkpoint").detector
    assert (detector.name, detector.options["taps"]) == ("yolov5n-akconv-official", TAPS)


def test_the_bundle_finds_the_bus_and_its_people(
    work: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    bus = str(shared / "data" / "coco" / "bus.jpg")
    assert main(["run", "real-bundle", bus, "--json", "found.jsonl", "--save", "pictures"]) == 0
    record = json.loads(Path("found.jsonl").read_text())
    labels = sorted(item["label"] for item in record["detections"])
    assert labels == ["bus", "person", "person", "person"]
    assert (work / "pictures" / "bus.jpg").stat().st_size > 10_000


def test_checkpoint_bundle_and_native_bundle_have_the_same_precision(work: Path, shared: Path) -> None:
    dataset = shared / "data" / "coco" / "coco8"
    folders = [work / "real-checkpoint", work / "real-bundle"]
    if (work / "native-bundle").is_dir():
        folders.append(work / "native-bundle")
    found = [evaluate(folder, dataset).precision for folder in folders]
    assert found[0].ap50 >= LEAST_AP50
    assert found[0].ap >= LEAST_AP
    for other in found[1:]:
        assert abs(other.ap - found[0].ap) <= AP_TOLERANCE
        assert abs(other.ap50 - found[0].ap50) <= AP_TOLERANCE


def test_native_kernels_find_what_torch_finds(work: Path, shared: Path) -> None:
    if not (work / "native-bundle").is_dir():
        pytest.skip("needs cmake and g++ to build the native ops")
    pictures = [shared / "data" / "coco" / "bus.jpg", shared / "data" / "coco" / "coco8" / "images" / "val"]
    result = compare(work / "real-checkpoint", work / "native-bundle", images=pictures)
    assert result.agrees, result.reason
