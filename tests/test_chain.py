"""The whole chain on real weights and real frames, and what it says to bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import lively_detector

from tercelet.contract.geometry import pairwise_iou, xyxy_from_cxcywh
from tercelet.contract.manifest import Provenance
from tercelet.export import export
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image
from tercelet.training.checkpoint import write_checkpoint

WEIGHTS = Path("data", "weights", "yolov5n_v6.1-v7.0_official.pt")
# What upstream's own code gives for these weights and zidane.jpg (ultralytics/yolov5 at 5081342f, conf 0.25,
# IoU 0.45): class, score, box. First on a square canvas of 640x640, then on upstream's default of 384x640.
UPSTREAM = {
    (640, 640): (
        (0, 0.790, (742.37, 39.881, 1154.1, 716.05)),
        (0, 0.368, (135.70, 180.75, 739.33, 720.00)),
        (27, 0.271, (438.22, 434.27, 503.57, 711.38)),
    ),
    (384, 640): (
        (0, 0.788, (742.67, 39.552, 1154.5, 715.11)),
        (0, 0.412, (134.03, 180.67, 742.21, 720.00)),
        (27, 0.268, (435.76, 433.87, 503.00, 712.02)),
    ),
}
# Upstream maps boxes back with one rounded ratio and prints scores with three digits.
UPSTREAM_IOU, UPSTREAM_SCORE = 0.99, 1e-3
# The label file (scores 0.910, 0.767, 0.558) states neither its settings nor its weights. Upstream's own code
# with the official weights gives UPSTREAM, and comes no nearer to the file at 1280 px or augmented; nor does
# this project at any canvas from 256 to 1984 px, square, rectangular or stretched, or with channels reversed.
# So the objects and classes are compared, not the scores.
LABEL_FILE_IOU = 0.8


def test_official_weights_become_boxes_on_a_bus(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(shared / WEIGHTS), "--detector", "yolov5n", "-o", "n-checkpoint"]) == 0
    assert "1,872,157" in capsys.readouterr().out
    assert main(["export", "n-checkpoint"]) == 0
    assert "equal to torch" in capsys.readouterr().out
    bus = str(shared / "data" / "coco" / "bus.jpg")
    assert main(["run", "n-bundle", bus, "--json", "found.jsonl", "--save", "pictures"]) == 0
    (line,) = Path("found.jsonl").read_text().splitlines()
    record = json.loads(line)
    labels = [item["label"] for item in record["detections"]]
    assert (record["width"], record["height"]) == (810, 1080)
    assert labels.count("bus") == 1
    assert labels.count("person") >= 3
    assert set(record["timing_ms"]) >= {"read", "preprocess", "infer", "postprocess"}
    drawn = read_image("pictures/bus.jpg")
    assert drawn.shape == (1080, 810, 3)
    assert (np.abs(drawn.astype(int) - read_image(bus)).max(axis=2) > 60).mean() > 0.005


@pytest.mark.parametrize("size", list(UPSTREAM))
def test_boxes_on_zidane_are_those_of_upstreams_own_code(
    shared: Path, yolov5n_checkpoint: Path, yolov5n_bundle: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    bundle = yolov5n_bundle
    if size != (640, 640):
        bundle = export(yolov5n_checkpoint, output=tmp_path / "b", size=size)
    with open_pipeline(bundle) as detect:
        found = detect(read_image(shared / "data" / "coco" / "zidane.jpg"))
    classes, scores, boxes = zip(*UPSTREAM[size], strict=True)
    assert tuple(found.class_ids.tolist()) == classes
    np.testing.assert_allclose(found.scores, scores, atol=UPSTREAM_SCORE)
    iou = pairwise_iou(found.boxes.astype(np.float64), np.asarray(boxes))
    assert np.diag(iou).min() >= UPSTREAM_IOU


def test_the_objects_of_the_label_file_are_found_with_their_classes(
    shared: Path, yolov5n_bundle: Path
) -> None:
    path = shared / "data" / "weights" / "reference" / "yolov5n_zidane_upstream_labels.txt"
    rows = np.loadtxt(path)
    boxes = xyxy_from_cxcywh(rows[:, 1:5] * [1280, 720, 1280, 720])
    with open_pipeline(yolov5n_bundle) as detect:
        found = detect(read_image(shared / "data" / "coco" / "zidane.jpg"))
    iou = pairwise_iou(boxes, found.boxes.astype(np.float64))
    same = rows[:, :1].astype(int) == found.class_ids[None]
    assert np.where(same, iou, 0).max(axis=1).min() >= LABEL_FILE_IOU


def test_checkpoint_and_bundle_find_the_same_on_the_same_frames(
    shared: Path, yolov5n_checkpoint: Path, yolov5n_bundle: Path, tmp_path: Path
) -> None:
    images = [str(shared / "data" / "coco" / name) for name in ("bus.jpg", "zidane.jpg", "coco8/images/val")]
    report = tmp_path / "compare.json"
    arguments = ["compare", str(yolov5n_checkpoint), str(yolov5n_bundle), "--images", *images]
    assert main([*arguments, "--min-iou", "0.99", "--max-score", "1e-3", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["matched"] >= 15
    assert (found["only_a"], found["only_b"]) == (0, 0)


def test_coco8_is_evaluated(shared: Path, yolov5n_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = str(shared / "data" / "coco" / "coco8")
    assert main(["evaluate", str(yolov5n_bundle), dataset, "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 4
    # Upstream publishes 0.28 on the whole of COCO; four frames are enough to see a broken chain.
    assert result["ap"] > 0.3
    assert result["ap50"] > 0.5
    keys = {"protocol", "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "per_class", "frames"}
    assert keys <= set(result)


def one_class_checkpoint(folder: Path) -> Path:
    """A yolov8n with one class, as the upstream state that somebody imports with the wrong number."""
    detector = lively_detector("yolov8n", classes=1)
    provenance = Provenance("seeded", sha256="0" * 64, format="none")
    write_checkpoint(folder, detector, labels=("owl",), provenance=provenance)
    return folder / "weights.safetensors"


def edit_manifest(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def flip_byte(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def spoilt_bundle(change: Callable[[Path], None]) -> Callable[[Path, Path], list[str]]:
    def arguments(bundle: Path, place: Path) -> list[str]:
        change(bundle)
        np.save(place / "frame.npy", np.zeros((32, 32, 3), np.uint8))
        return ["run", str(bundle), str(place / "frame.npy"), "--json", str(place / "out" / "found.jsonl")]

    return arguments


def no_picture(bundle: Path, place: Path) -> list[str]:
    (place / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is not a picture")
    return ["run", str(bundle), str(place / "photo.jpg"), "--save", str(place / "out")]


def empty_folder(bundle: Path, place: Path) -> list[str]:
    (place / "empty").mkdir()
    return ["run", str(bundle), str(place / "empty"), "--save", str(place / "out")]


def wrong_class_count(bundle: Path, place: Path) -> list[str]:
    weights = one_class_checkpoint(place / "one")
    return ["import", str(weights), "--detector", "yolov8n", "--classes", "80", "-o", str(place / "out")]


def wrong_name(bundle: Path, place: Path) -> list[str]:
    weights = one_class_checkpoint(place / "one")
    return ["import", str(weights), "--detector", "yolov9n", "-o", str(place / "out")]


def wrong_family(bundle: Path, place: Path) -> list[str]:
    weights = one_class_checkpoint(place / "one")
    return ["import", str(weights), "--detector", "yolov5n", "-o", str(place / "out")]


BAD_INPUT: tuple[tuple[str, Callable[[Path, Path], list[str]], int, str], ...] = (
    ("an unknown detector", wrong_name, 2, "yolov9n"),
    ("weights of another detector", wrong_family, 2, "they fit yolov8n"),
    ("one class as eighty", wrong_class_count, 2, "80"),
    ("a JPEG that is none", no_picture, 2, "photo.jpg"),
    ("an empty folder", empty_folder, 2, "empty"),
    (
        "a manifest with a wrong type",
        spoilt_bundle(lambda folder: edit_manifest(folder, '"pad_value": 114', '"pad_value": "114"')),
        2,
        'preprocess.pad_value: expected an integer, got "114"',
    ),
    ("a flipped byte", spoilt_bundle(flip_byte), 1, "model.onnx: sha256 .* differs"),
    (
        "a golden pair that the graph does not give",
        spoilt_bundle(
            lambda folder: edit_manifest(folder, '"tolerance_score": 0.005', '"tolerance_score": -1')
        ),
        1,
        "does not reproduce the bundle's golden pair",
    ),
    (
        "an engine that is not there",
        spoilt_bundle(
            lambda folder: edit_manifest(folder, '"backend": "onnxruntime"', '"backend": "abacus"')
        ),
        2,
        "target.backend: expected one of onnxruntime, got 'abacus'",
    ),
)


@pytest.mark.parametrize(
    ("make", "code", "words"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT]
)
def test_bad_input_is_refused_in_a_line_or_two_and_leaves_nothing(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path, Path], list[str]],
    code: int,
    words: str,
) -> None:
    arguments = make(bundle, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert re.search(words, err), err
    assert 1 <= len(err.strip().splitlines()) <= 2
    assert "Traceback" not in out + err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["yolov5n_truncated.pt", "yolov8s-worldv2_lfs-pointer.pt"])
def test_real_broken_downloads_are_refused(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    weights = shared / "data" / "weights" / "broken" / name
    assert main(["import", str(weights), "--detector", "yolov5n", "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert name in err
    assert len(err.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []
