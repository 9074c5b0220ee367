"""Annotations of density crops: upstream's texts in parity mode, everything that is visible otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cases import load_case

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import VisDroneAnnotation, read_visdrone_annotation
from tercelet.evaluation.datasets.density_crops import (
    crop_annotation,
    crop_file_name,
    crop_from_file_name,
    crops_of_frame,
    objects_hit,
    visdrone_text,
)
from tercelet.evaluation.datasets.density_truth import counted_objects, upstream_objects
from tercelet.runtime import plan_dmnet

CROP = np.array([100, 50, 200, 150], np.int64)


def read(folder: Path, text: str) -> VisDroneAnnotation:
    path = folder / "a.txt"
    path.write_text(text)
    return read_visdrone_annotation(path)


def text_of_crop(folder: Path, text: str, **options: float) -> str:
    annotation = read(folder, text)
    return visdrone_text(crop_annotation(annotation, counted_objects(annotation), CROP, **options))


@pytest.mark.parametrize("case", range(4))
def test_parity_mode_gives_upstreams_crops_and_hit_rate(shared: Path, tmp_path: Path, case: int) -> None:
    record, _, inputs, _ = load_case(shared, "dmn_crops")
    expected = record["crops"][f"k{case}"]
    annotation = read(tmp_path, bytes(inputs[f"k{case}.anno"]).decode())
    counted = upstream_objects(annotation, mode="val")
    boxes = plan_dmnet(inputs[f"k{case}.dens"], parity=True)
    texts = {
        crop_file_name(box, f"crop{case}.txt"): visdrone_text(
            crop_annotation(annotation, counted, box, parity=True)
        )
        for box in boxes
    }
    assert texts == expected["annotations"]
    assert sorted(name.replace(".txt", ".jpg") for name in texts) == expected["crop_files"]
    assert [objects_hit(annotation, counted, boxes), int(counted.sum())] == expected["hit"]


def test_an_empty_frame_gives_an_empty_text(tmp_path: Path) -> None:
    assert text_of_crop(tmp_path, "") == ""
    annotation = read(tmp_path, "")
    assert objects_hit(annotation, counted_objects(annotation), np.zeros((0, 4), np.int64)) == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("110,60,10,20,1,4,0,1", "10,10,10,20,1,4,0,1"),  # wholly inside
        ("100,50,100,100,1,4,0,0", "0,0,100,100,1,4,0,0"),  # up to the border and not across
        ("190,60,20,20,1,4,0,1", "90,10,10,20,0,4,1,1"),  # half of it
        ("198,60,20,20,1,4,0,1", "98,10,2,20,0,4,1,1"),  # a tenth of it
        ("199,60,20,20,1,4,0,1", ""),  # a twentieth
        ("200,60,20,20,1,4,0,1", ""),  # beside it
        ("0,0,900,900,1,9,0,0", "0,0,100,100,0,9,1,0"),  # one that fills it
        ("110,60,10,20,0,4,0,0", "10,10,10,20,0,4,0,0"),  # one that the data set marks to be ignored
        ("110,60,10,20,1,11,0,0", "10,10,10,20,0,11,0,0"),  # another vehicle
        ("0,0,105,55,0,0,0,0", "0,0,5,5,0,0,0,0"),  # the corner of an ignored region
        ("110,60,0,20,1,4,0,0", ""),
    ],
)
def test_the_text_says_what_is_visible(tmp_path: Path, line: str, expected: str) -> None:
    assert text_of_crop(tmp_path, line).removesuffix("\n") == expected


def test_upstream_drops_what_the_border_cuts(tmp_path: Path) -> None:
    annotation = read(tmp_path, "190,60,20,20,1,4,0,1\n110,60,10,20,1,4,0,1\n0,0,150,150,0,0,0,0\n")
    upstream = crop_annotation(annotation, upstream_objects(annotation, mode="train"), CROP, parity=True)
    assert visdrone_text(upstream) == "10,10,10,20,1,4,0,1\n"
    corrected = crop_annotation(annotation, counted_objects(annotation), CROP)
    assert corrected.scores.tolist() == [0, 1, 0]


def test_how_much_must_be_visible_can_be_said(tmp_path: Path) -> None:
    line = "190,60,20,20,1,4,0,1"
    assert text_of_crop(tmp_path, line, min_visible=0.5) != ""
    assert text_of_crop(tmp_path, line, min_visible=0.51) == ""
    assert text_of_crop(tmp_path, "199,60,20,20,1,4,0,1", min_visible=0.0) != ""


@pytest.mark.parametrize("frame", ["a.jpg", "0000001_02999_d_0000005.jpg", "1_2_3_4_5.jpg", "jpg.images.jpg"])
def test_a_name_gives_back_its_box_and_frame(frame: str) -> None:
    box, found = crop_from_file_name(crop_file_name(CROP, frame))
    assert (box.tolist(), found) == (CROP.tolist(), frame)


@pytest.mark.parametrize("name", ["", "a.jpg", "1_2_3_a.jpg", "1_2_3_4_", "1_2_x_4_a.jpg", "-1_2_3_4_a.jpg"])
def test_a_name_that_is_no_crops_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a crop's name, top_left_bottom_right_frame, got"):
        crop_from_file_name(name)


def test_a_frame_whose_name_ends_another_ones_takes_no_crop_of_it() -> None:
    # Upstream asks whether the frame's name is part of the crop's.
    names = ["0_0_70_70_a.jpg", "0_0_70_70_xa.jpg", "0_70_70_140_a.jpg", "0_0_70_70_1_a.jpg"]
    assert crops_of_frame(names, "a.jpg") == ["0_0_70_70_a.jpg", "0_70_70_140_a.jpg"]
    assert crops_of_frame(names, "xa.jpg") == ["0_0_70_70_xa.jpg"]


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(
        st.tuples(
            *[st.integers(-20, 120)] * 2, *[st.integers(0, 60)] * 2, st.integers(0, 1), st.integers(0, 11)
        ),
        max_size=12,
    ),
    corner=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_every_counted_object_inside_is_there_once_and_nothing_leaves_the_crop(
    lines: list[tuple[int, ...]], corner: tuple[int, int], size: tuple[int, int]
) -> None:
    table = np.array(lines, np.int64).reshape(-1, 6)
    boxes = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1).astype(np.float64)
    zeros = np.zeros(len(table), np.int64)
    annotation = VisDroneAnnotation(boxes, table[:, 4], table[:, 5], zeros, zeros)
    counted = counted_objects(annotation)
    crop = np.array([*corner, corner[0] + size[0], corner[1] + size[1]], np.int64)
    found = crop_annotation(annotation, counted, crop)
    inside = (boxes[:, :2] >= crop[:2]).all(1) & (boxes[:, 2:] <= crop[2:]).all(1) & counted
    shifted = (boxes[inside] - np.tile(crop[:2], 2)).tolist()
    assert found.boxes[found.scores == 1].tolist() == shifted
    assert objects_hit(annotation, counted, crop[None]) == int(inside.sum())
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.tile(size, 2)).all()
    assert found.has_extent.all()
