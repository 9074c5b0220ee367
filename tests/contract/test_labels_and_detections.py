"""Class names and detections: checked when made, ready for JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.labels import check_labels, color_for, labels_from_file, numbered_labels


def test_no_detections_have_no_records() -> None:
    empty = Detections.empty(("cat",))
    assert len(empty) == 0
    assert list(empty.records()) == []


def test_records_are_json_with_label_and_class() -> None:
    found = Detections(
        boxes=np.array([[1.23456, 2, 3, 4]], np.float32),
        scores=np.array([0.123456], np.float32),
        class_ids=np.array([1]),
        labels=("cat", "dog"),
    )
    assert json.loads(json.dumps(list(found.records()))) == [
        {"box": [1.235, 2.0, 3.0, 4.0], "score": 0.12346, "label": "dog", "class_id": 1}
    ]


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InputError, match=r"got \(2, 4\), \(1,\) and \(2,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int64), ("a",))


def test_label_files_are_read_without_trailing_blanks(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n dog \n\n\n", encoding="utf-8")
    assert labels_from_file(path) == ("cat", "dog")
    path.write_text("cat\n\ndog\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected a class name at position 1, got ''"):
        labels_from_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="expected a text file with one class name a line"):
        labels_from_file(path)
    with pytest.raises(InputError, match="expected a text file"):
        labels_from_file(tmp_path / "none.txt")


def test_an_empty_list_of_labels_is_refused() -> None:
    with pytest.raises(InputError, match="weights: expected at least one class name, got none"):
        check_labels([], where="weights")
    assert numbered_labels(2) == ("class_0", "class_1")


def test_neighbouring_classes_get_colors_that_differ() -> None:
    colors = [color_for(index) for index in range(20)]
    assert len(set(colors)) == 20
    assert all(sum(abs(a - b) for a, b in zip(x, y, strict=True)) > 100 for x, y in pairwise(colors))
