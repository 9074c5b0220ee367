"""tercelet prepare: what it writes, and none of upstream's slips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from visdrone_splits import CLUSTER, HEIGHT, TEXT, WIDTH, coco, contents, make_split, prepare

from tercelet.contract.density import DensityMap
from tercelet.evaluation.datasets import (
    VISDRONE_CATEGORIES,
    coco_dataset,
    read_visdrone_annotation,
    visdrone_dataset,
)
from tercelet.evaluation.datasets.density_crops import crop_file_name
from tercelet.evaluation.datasets.density_truth import density_truth
from tercelet.evaluation.preparation.result import preparation_text
from tercelet.runtime import plan_dmnet
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return make_split(tmp_path / "visdrone", {"a.png": TEXT, "b.png": "", "c.png": CLUSTER})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_frames_without_objects_keep_their_place(tmp_path: Path, output: Path) -> None:
    # Upstream's density script fails on them, and its conversion to COCO leaves them out.
    result = prepare(make_split(tmp_path / "v", {"a.png": "", "b.png": ""}), output)
    assert (result.splits[0].frames, result.splits[0].crops, result.splits[0].hit_rate) == (2, 0, None)
    frames = coco(output, "frames")
    assert [(image["id"], image["file_name"]) for image in frames["images"]] == [(1, "a.png"), (2, "b.png")]
    assert frames["annotations"] == []
    assert not np.load(output / "density" / "a.npy").any()
    assert coco(output, "crops")["images"] == []
    assert " - " in preparation_text(result)


def test_everything_that_was_promised_is_written(split: Path, output: Path) -> None:
    result = prepare(split, output)
    names = {name for name in contents(output) if not name.startswith(("density", "crops", "records"))}
    assert names == {"prepared.json", "annotations_frames.json", "annotations_crops.json"}
    assert {path.name for path in (output / "density").iterdir()} == {"a.npy", "b.npy", "c.npy"}
    found = result.splits[0]
    assert (found.name, found.frames, found.found, found.objects) == ("visdrone", 3, 0, 7)
    assert found.crops == len(list((output / "crops" / "images").iterdir())) >= 3
    assert found.hit_rate == found.hits / 7
    assert 0 < found.crop_area_share < 1


@pytest.mark.parametrize("scale", [1, 4])
def test_a_density_map_keeps_the_count_at_either_size(split: Path, output: Path, scale: int) -> None:
    prepare(split, output, density_scale=scale)
    values = np.load(output / "density" / "a.npy", allow_pickle=False)
    assert (values.shape, values.dtype) == ((HEIGHT // scale, WIDTH // scale), np.float32)
    annotation = read_visdrone_annotation(split / "annotations" / "a.txt")
    truth = density_truth(annotation, height=HEIGHT, width=WIDTH)
    stored = DensityMap(values, HEIGHT, WIDTH)
    assert stored.count == pytest.approx(float(truth.sum(dtype=np.float64)), rel=1e-6)
    window = np.array([[0, 0, 70, 70], [200, 140, 300, 220]])
    expected = DensityMap(truth, HEIGHT, WIDTH).window_sum(window)
    # A quarter of a percent of an object, where a window's edge runs through cells.
    np.testing.assert_allclose(stored.window_sum(window), expected, atol=0.01)


def test_crops_are_a_split_of_their_own_and_show_what_their_names_say(split: Path, output: Path) -> None:
    prepare(split, output)
    dataset = visdrone_dataset(output / "crops")
    frame = read_image(split / "images" / "a.png").astype(int)
    for image in dataset.images:
        top, left, bottom, right, name = image.path.stem.split("_")
        assert (image.height, image.width) == (int(bottom) - int(top), int(right) - int(left))
        if name == "a":
            shown = read_image(image.path).astype(int)
            part = frame[int(top) : int(bottom), int(left) : int(right)]
            assert np.abs(shown - part).mean() < 5  # JPEG
    assert sum(int((~image.ignore).sum()) for image in dataset.images) >= 7


def test_both_coco_files_open_and_agree_with_the_annotations(split: Path, output: Path) -> None:
    prepare(split, output)
    frames = coco_dataset(output / "annotations_frames.json", images=split / "images")
    assert frames.categories == VISDRONE_CATEGORIES
    assert [image.path.name for image in frames.images] == ["a.png", "b.png", "c.png"]
    first = frames.images[0]
    objects = visdrone_dataset(split).images[0]
    counted = ~first.ignore
    np.testing.assert_array_equal(first.boxes[counted], objects.boxes[~objects.ignore])
    np.testing.assert_array_equal(first.class_ids[counted], objects.class_ids[~objects.ignore])
    crops = coco_dataset(output / "annotations_crops.json")
    parsed = {image.path.name: image for image in visdrone_dataset(output / "crops").images}
    for image in crops.images:
        np.testing.assert_array_equal(
            image.boxes[~image.ignore], parsed[image.path.name].boxes[~parsed[image.path.name].ignore]
        )


def test_ids_start_at_one_and_ignored_regions_are_crowds_of_every_category(split: Path, output: Path) -> None:
    # Upstream numbers images from 0, which its fusion takes for "no image".
    prepare(split, output)
    for name in ("frames", "crops"):
        found = coco(output, name)
        for part in ("images", "annotations", "categories"):
            assert [entry["id"] for entry in found[part]] == list(range(1, len(found[part]) + 1))
        assert {entry["image_id"] for entry in found["annotations"]} <= {i["id"] for i in found["images"]}
        assert all(e["area"] == e["bbox"][2] * e["bbox"][3] for e in found["annotations"])
    regions = [e for e in coco(output, "frames")["annotations"] if e.get("ignored_region")]
    assert [entry["category_id"] for entry in regions] == list(range(1, 11))
    assert all(entry["iscrowd"] == 1 and entry["bbox"] == [0, 180, 60, 40] for entry in regions)


@pytest.mark.parametrize(
    ("options", "objects", "crowds"),
    [
        ({}, 7, {(100, 100): 1, (60, 30): 0}),
        ({"keep_score0": True}, 8, {(100, 100): 0, (60, 30): 0}),
        ({"drop_heavy_occlusion": True}, 5, {(100, 100): 1, (60, 30): 1}),
    ],
)
def test_what_counts_can_be_chosen_and_the_rest_is_to_be_ignored(
    split: Path, output: Path, options: dict[str, bool], objects: int, crowds: dict[tuple[int, int], int]
) -> None:
    result = prepare(split, output, **options)
    assert result.splits[0].objects == objects
    entries = coco(output, "frames")["annotations"]
    for corner, crowd in crowds.items():
        assert {e["iscrowd"] for e in entries if tuple(e["bbox"][:2]) == corner} == {crowd}
    count = sum(float(np.load(path).sum()) for path in (output / "density").iterdir())
    assert objects - 1 < count <= objects + 1e-3


def test_without_crops_there_are_maps_and_frames_alone(split: Path, output: Path) -> None:
    result = prepare(split, output, crops=False)
    assert not (output / "crops").exists()
    assert not (output / "annotations_crops.json").exists()
    assert len(list((output / "density").iterdir())) == 3
    assert "-" in preparation_text(result).splitlines()[1]


def test_several_splits_get_a_folder_each(tmp_path: Path, output: Path) -> None:
    for name in ("VisDrone2019-DET-train", "VisDrone2019-DET-val"):
        make_split(tmp_path / "root" / name, {"a.png": TEXT})
    (tmp_path / "root" / "notes").mkdir()
    result = prepare(tmp_path / "root", output)
    assert [split.name for split in result.splits] == ["VisDrone2019-DET-train", "VisDrone2019-DET-val"]
    assert (output / "VisDrone2019-DET-val" / "annotations_frames.json").is_file()


@pytest.mark.parametrize("name", ["jpg.jpg", "gpj.jpg", "images.jpg.jpg", "annotations.jpg", "0_0_9_9_x.jpg"])
def test_no_name_is_taken_for_something_else(tmp_path: Path, output: Path, name: str) -> None:
    # Upstream strips the characters of ".jpg" and replaces "images" and "jpg" wherever a path has them.
    root = make_split(tmp_path / "images.jpg" / "annotations", {name: CLUSTER})
    prepare(root, output)
    stem = Path(name).stem
    assert (output / "density" / f"{stem}.npy").is_file()
    assert coco(output, "frames")["images"][0]["file_name"] == name
    crops = [image["file_name"] for image in coco(output, "crops")["images"]]
    assert crops
    assert all(crop.endswith(f"_{stem}.jpg") for crop in crops)


def test_parity_mode_is_upstreams_and_heeds_the_name_of_the_split(tmp_path: Path, output: Path) -> None:
    for name in ("x-train", "x-val", "x-test-dev"):
        make_split(tmp_path / "root" / name, {"a.png": TEXT})
    result = prepare(tmp_path / "root", output, parity=True, density_scale=1)
    assert [split.objects for split in result.splits] == [5, 5, 4]  # test-dev, train, val
    values = np.load(output / "x-val" / "density" / "a.npy")
    assert values[-1].max() == values[:, -1].max() == 0
    names = {path.stem for path in (output / "x-val" / "crops" / "images").iterdir()}
    assert names == {crop_file_name(box, "a") for box in plan_dmnet(values, parity=True)}
    texts = [path.read_text() for path in (output / "x-val" / "crops" / "annotations").iterdir()]
    assert all(line.split(",")[4] == "1" for text in texts for line in text.splitlines())


def test_the_default_heeds_the_score_in_every_split_alike(tmp_path: Path, output: Path) -> None:
    for name in ("x-train", "x-val", "x-test-dev"):
        make_split(tmp_path / "root" / name, {"a.png": TEXT})
    assert [split.objects for split in prepare(tmp_path / "root", output).splits] == [4, 4, 4]


def test_a_frame_smaller_than_the_window_is_one_crop(tmp_path: Path, output: Path) -> None:
    root = make_split(tmp_path / "v", {"a.png": "5,5,20,20,1,4,0,0\n"}, height=40, width=50)
    prepare(root, output)
    assert coco(output, "crops")["images"][0]["file_name"] == "crops/images/0_0_40_50_a.jpg"


def test_the_command_prints_a_table_or_json(
    split: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "visdrone", str(split), "-o", str(output), "--jobs", "1"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == [
        *(
            "split",
            "frames",
            "already",
            "there",
            "objects",
            "crops",
            "a",
            "frame",
            "hit",
            "rate",
            "crop",
            "area",
        )
    ]
    assert "prepare: 3/3" in captured.err
    assert main([*command, "--json", "-", "--quiet"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert captured.err == ""
    assert set(record) == {"root", "output", "settings", "splits", "seconds", "notes"}
    assert record["splits"][0]["found"] == 3
    assert record["splits"][0]["hit_rate"] > 0.5
    assert main([*command, "--window", "60"]) == 2
    assert "window 70, not 60" in capsys.readouterr().err


# Measured on the 16 frames; a change of the plan or of the ground truth would move them.
REAL_OBJECTS, REAL_CROPS, REAL_HIT_RATE = 2096, 38, 0.995


def test_the_real_frames_are_prepared(shared: Path, output: Path) -> None:
    result = prepare(shared / "data" / "visdrone", output, jobs=2)
    found = result.splits[0]
    assert (found.frames, found.objects, found.crops) == (16, REAL_OBJECTS, REAL_CROPS)
    assert found.hit_rate == pytest.approx(REAL_HIT_RATE, abs=5e-4)
    assert (
        len(coco_dataset(output / "annotations_frames.json", images=shared / "data/visdrone/images").images)
        == 16
    )
