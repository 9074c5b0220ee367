"""tercelet evaluate, from a bundle to figures, on a seeded network and on the official yolov5n."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation import EvaluationResult, evaluate
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image, write_image

WritePicture = Callable[..., Path]
# A near tie that another processor breaks the other way moves one rank of one of seventeen objects.
FIGURES = 0.005
COCO_ON_VISDRONE = {
    "person": ["pedestrian", "people"],
    "bicycle": "bicycle",
    "car": ["car", "van"],
    "truck": "truck",
    "bus": "bus",
    "motorcycle": "motor",
}


@pytest.fixture
def own_detections(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A YOLO data set of three noisy frames whose ground truth is what the seeded network finds in them."""
    rng = np.random.default_rng(0)
    for index, shape in enumerate(((64, 64, 3), (50, 90, 3), (120, 80, 3))):
        path = tmp_path / "set" / "images" / "val" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, rng.integers(0, 255, shape, dtype=np.uint8))
        with open_pipeline(tiny_bundle, score_threshold=0.001, iou_threshold=0.7) as detect:
            found = detect(read_image(path))
        lines = []
        for (x1, y1, x2, y2), class_id in zip(found.boxes[:10].tolist(), found.class_ids[:10], strict=True):
            w, h = shape[1], shape[0]
            lines.append(
                f"{class_id} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} {(y2 - y1) / h}"
            )
        label = tmp_path / "set" / "labels" / "val" / f"{index}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("\n".join(lines))
    return tmp_path / "set"


def test_a_network_judged_by_its_own_best_detections_is_perfect(
    tiny_bundle: Path, own_detections: Path
) -> None:
    result = evaluate(tiny_bundle, own_detections, quiet=True)
    assert result.frames == 3
    assert result.ground_truth == 30
    # Ground truth passes through text and float32; the ten best of a frame need not be the best of all.
    assert result.precision.recall["ar100"] == pytest.approx(1, abs=1e-6)
    assert result.precision.ap is not None
    assert result.precision.ap > 0.5


def test_a_checkpoint_is_judged_like_its_bundle(
    tiny_checkpoint: Path, tiny_bundle: Path, own_detections: Path
) -> None:
    results = [
        evaluate(path, own_detections, quiet=True).precision for path in (tiny_checkpoint, tiny_bundle)
    ]
    # Random weights make near ties, in which the last bit decides the rank of a few of thirty objects.
    assert results[0].ap == pytest.approx(results[1].ap, abs=0.02)
    assert results[0].recall["ar100"] == pytest.approx(1, abs=0.02)


def test_the_verb_prints_a_table_and_writes_json_and_pictures(
    tiny_bundle: Path, own_detections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, saved = tmp_path / "out" / "result.json", tmp_path / "pictures"
    verb = ["evaluate", str(tiny_bundle), str(own_detections), "--json", str(out), "--save", str(saved)]
    assert main([*verb, "--limit", "2"]) == 0
    captured = capsys.readouterr()
    assert "2 frames, 20 objects" in captured.out
    assert "protocol  coco: " in captured.out
    assert "IoU 0.50:0.05:0.95" in captured.out
    assert "evaluate: 2/2" in captured.err
    record = json.loads(out.read_text())
    assert record["frames"] == 2
    assert record["settings"] == {"score": 0.001, "iou": 0.7, "max_detections": 300}
    assert set(record["per_class"]) == {"cat", "dog", "owl"}
    assert sorted(path.name for path in saved.iterdir()) == ["000000_0.jpg", "000001_1.jpg"]
    assert read_image(saved / "000001_1.jpg").shape == (50, 180, 3)


def test_json_to_stdout_is_json_alone(
    tiny_bundle: Path, own_detections: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny_bundle), str(own_detections), "--json", "-", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["frames"] == 3
    assert captured.err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json": ""}, "--json: expected a file name"),
        ({"json": "."}, "expected a file for the results, got a folder"),
        ({"save": ""}, "save: expected a path, got an empty name"),
        ({"save": __file__}, "expected a folder to write results to, but .* is a file"),
        ({"bundle": ""}, "bundle: expected a path, got an empty name"),
    ],
)
def test_places_that_cannot_be_are_refused_before_any_work(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(**{"bundle": "nowhere", "dataset": "nowhere", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_map": ""}, "class_map: expected a path"),
        ({"max_detections": 0}, "max_detections: expected at least 1, got 0"),
        ({"protocol": ""}, "protocol: expected coco or visdrone, got ''"),
        ({"dataset": ""}, "dataset: expected a path"),
    ],
)
def test_impossible_requests_are_refused(
    tiny_bundle: Path, own_detections: Path, options: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_detections)
    with pytest.raises(InputError, match=message):
        evaluate(**{"bundle": tiny_bundle, "dataset": own_detections, "quiet": True, **options})


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_the_table_is_there_even_if_the_json_cannot_be_written(
    tiny_bundle: Path,
    own_detections: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    def full(*_: object) -> None:
        raise InputError("no room")

    monkeypatch.setattr("tercelet.contract.json_output.write_json", full)
    monkeypatch.setattr("tercelet.evaluation.evaluating.write_json", full)
    monkeypatch.setattr("tercelet.evaluation.comparing.write_json", full)
    second = own_detections if verb == "evaluate" else tiny_bundle
    out = own_detections / "x.json"
    assert main([verb, str(tiny_bundle), str(second), "--quiet", "--json", str(out)]) == 2
    captured = capsys.readouterr()
    assert "tercelet: no room" in captured.err
    assert ("protocol  coco" if verb == "evaluate" else "gates: ") in captured.out


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_the_vision_library_is_kept_to_the_threads_of_the_engine(
    tiny_bundle: Path, own_detections: Path, verb: str
) -> None:
    second = own_detections if verb == "evaluate" else tiny_bundle
    before = cv2.getNumThreads()
    try:
        for options, expected in (([], 1), (["--threads", "2"], 2)):
            cv2.setNumThreads(3)
            main([verb, str(tiny_bundle), str(second), "--quiet", "--limit", "1", *options])
            assert cv2.getNumThreads() == expected
    finally:
        cv2.setNumThreads(before)


def test_the_help_shows_what_a_class_map_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    example = text[text.index("{", text.index("JSON file of label")) :]
    entries, _ = json.JSONDecoder().raw_decode(example)
    assert entries == {"person": ["pedestrian", "people"], "motorcycle": "motor"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("picture", "1.png: expected a picture, got an HTML page"),
        ("label", "1.txt:1: expected a class from 0 to 2, got 7"),
        ("labels", "expected the labels of 0.png there, got nothing"),
        ("pictures", "expected pictures (.jpg, .jpeg, .png, ...), got none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tiny_bundle: Path, own_detections: Path, capsys: pytest.CaptureFixture[str], damage: str, message: str
) -> None:
    images, labels = own_detections / "images" / "val", own_detections / "labels" / "val"
    if damage == "picture":
        (images / "1.png").write_bytes(b"<html></html>")
    elif damage == "label":
        (labels / "1.txt").write_text("7 0.5 0.5 0.1 0.1")
    else:
        for path in (labels if damage == "labels" else images).iterdir():
            path.unlink()
    assert main(["evaluate", str(tiny_bundle), str(own_detections)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_pictures_of_another_size_than_stated_are_refused(
    tiny_bundle: Path, tmp_path: Path, write_picture: WritePicture
) -> None:
    write_picture(tmp_path / "a.png", 64, 48)
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 64}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"a\.png: expected 48x64 pixels, as the data set states, got 64x48"):
        evaluate(tiny_bundle, tmp_path / "a.json", quiet=True)


def test_a_class_map_that_fits_nothing_is_refused_before_anything_runs(
    tiny_bundle: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"no label of the detector \(cat, dog, owl\).*--class-map"):
        evaluate(tiny_bundle, shared / "data" / "visdrone")
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def on_coco8(yolov5n_bundle: Path, shared: Path) -> EvaluationResult:
    """The official yolov5n on the four frames of coco8."""
    return evaluate(yolov5n_bundle, shared / "data" / "coco" / "coco8", quiet=True)


def test_the_official_yolov5n_finds_most_of_coco8(on_coco8: EvaluationResult) -> None:
    assert on_coco8.frames == 4
    assert on_coco8.ground_truth == 17
    assert on_coco8.by_name
    assert not any(on_coco8.unmatched_labels.values())
    # Four easy frames: far above the 0.28 that this network has on all of COCO, far below 1.
    assert on_coco8.precision.ap50 is not None
    assert 0.5 < on_coco8.precision.ap50 < 1
    assert on_coco8.precision.ap is not None
    assert 0.3 < on_coco8.precision.ap < on_coco8.precision.ap50
    # Every label is evaluated and nothing ignored: the order of limit and mapping must not show.
    assert on_coco8.precision.ap == pytest.approx(0.3643, abs=FIGURES)
    assert on_coco8.precision.ap50 == pytest.approx(0.6158, abs=FIGURES)


def test_coco_weights_are_judged_on_visdrone(yolov5n_bundle: Path, shared: Path) -> None:
    result = evaluate(
        yolov5n_bundle, shared / "data" / "visdrone", class_map=COCO_ON_VISDRONE, limit=4, quiet=True
    )
    assert result.frames == 4
    assert result.protocol.startswith("visdrone: ")
    assert set(result.per_class) == set(COCO_ON_VISDRONE)
    assert result.precision.ap50 is not None
    assert 0 < result.precision.ap50 < 0.6
    assert set(result.unmatched_categories) == {"tricycle", "awning-tricycle"}


def test_labels_outside_the_class_map_take_no_place_of_those_inside(
    yolov5n_bundle: Path, shared: Path
) -> None:
    frame = {"dataset": shared / "data" / "visdrone", "limit": 1, "quiet": True}
    result = evaluate(yolov5n_bundle, class_map=COCO_ON_VISDRONE, max_detections=100, **frame)
    assert sum(result.unmatched_labels.values()) > 0
    assert sum(item.detections for item in result.per_class.values()) == 100
