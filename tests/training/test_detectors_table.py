"""The table of detectors: names, sizes of every scale, options, refusals."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch

from tercelet.contract.errors import InputError
from tercelet.training import build, detector_names

SCALES = "nsmlx"
PARAMETERS = {
    "yolov5{}": (1_872_157, 7_235_389, 21_190_557, 46_563_709, 86_749_405),
    "yolov5{}-akconv": (1_401_527, 5_268_023),
    "yolov5{}-akconv-official": (1_655_097,),
    "yolov5{}u": (2_654_816, 9_153_152, 25_111_456, 53_225_024, 97_276_448),
    "yolov8{}": (3_157_200, 11_166_560, 25_902_640, 43_691_520, 68_229_648),
    "yolo11{}": (2_624_080, 9_458_752, 20_114_688, 25_372_160, 56_966_176),
    "yolo11{}-seam": (2_814_480, 10_279_040),
    "yolo11{}-multiseam": (5_507_808, 15_523_904),
}
TENSORS = {
    "yolov5{}": (349, 349, 481, 613, 745),
    "yolov5{}-akconv": (371, 371),
    "yolov5{}-akconv-official": (361, 361),
    "yolov8{}": (355, 355, 475, 595, 595),
    "yolo11{}": (499, 499, 649, 1015, 1015),
}


def by_name(table: dict[str, tuple[int, ...]]) -> list[tuple[str, int]]:
    """The table of families and scales as (detector, number) rows."""
    return [
        (family.format(scale), number)
        for family, numbers in table.items()
        for scale, number in zip(SCALES, numbers, strict=False)
    ]


@functools.cache
def meta_detector(detector: str, classes: int) -> Any:
    """A detector on the meta device that several tests look at and none changes."""
    return built_without_weights(detector, classes=classes).eval()


def built_without_weights(detector: str, **options: Any) -> Any:
    """The detector on the meta device: shapes, but no memory for numbers."""
    with torch.device("meta"):
        return build(detector, **options)


def test_nothing_is_built_from_an_empty_name() -> None:
    with pytest.raises(InputError, match=r"unknown detector '': known are yolov5\{n,s,m,l,x\}, "):
        build("")


def test_there_are_eight_families_of_five_scales_each_name_once() -> None:
    assert len(detector_names("detector")) == len(set(detector_names("detector"))) == 40
    assert detector_names() == (*detector_names("detector"), *detector_names("density"))
    assert {"yolov5n", "yolov5xu", "yolov8m", "yolo11l", "yolo11s-seam", "yolo11n-multiseam"} <= set(
        detector_names()
    )
    assert {"yolov5s-akconv", "yolov5n-akconv-official"} <= set(detector_names())


@pytest.mark.parametrize(("detector", "parameters"), by_name(PARAMETERS))
def test_every_scale_has_the_parameters_of_upstream(detector: str, parameters: int) -> None:
    assert sum(p.numel() for p in meta_detector(detector, 80).parameters()) == parameters


@pytest.mark.parametrize(
    ("detector", "taps", "parameters"),
    [("yolov5n-akconv-official", 3, 1_511_521), ("yolov5s-akconv-official", 6, 6_560_773)],
)
def test_other_numbers_of_taps_have_the_parameters_of_upstream(
    detector: str, taps: int, parameters: int
) -> None:
    model = built_without_weights(detector, taps=taps)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(("detector", "tensors"), by_name(TENSORS))
def test_every_scale_has_as_many_tensors_as_upstream(detector: str, tensors: int) -> None:
    assert len(meta_detector(detector, 80).state_dict()) == tensors


@pytest.mark.parametrize("detector", detector_names("detector"))
def test_every_detector_keeps_the_promises_of_its_attributes(detector: str) -> None:
    model = meta_detector(detector, 7)
    assert model.detector == detector
    assert model.classes == 7
    assert model.strides == (8, 16, 32)
    assert model.size_multiple == 32
    assert model.minimum_size == (224 if "multiseam" in detector else 32)
    assert model.suppression_iou == (0.45 if detector[:6] == "yolov5" and detector[-1] != "u" else 0.7)
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


@pytest.mark.parametrize("detector", detector_names("detector"))
def test_every_detector_gives_one_box_an_anchor_and_one_score_a_class(detector: str) -> None:
    model = meta_detector(detector, 7)
    anchors = model.anchor_count(256, 224)
    assert anchors == 7 * 8 * 21 * model.head.priors
    boxes, scores = model(torch.empty(2, 3, 256, 224, device="meta"))
    assert (boxes.shape, scores.shape) == ((2, anchors, 4), (2, anchors, 7))


@pytest.mark.parametrize(
    ("detector", "options"),
    [
        ("yolov5n", {}),
        ("yolov5n", {"classes": 2, "anchors": [[[4, 5], [6, 7]], [[8, 9], [10, 11]], [[12, 13], [14, 15]]]}),
        ("yolov5n-akconv", {"classes": 2, "tables": [[0, 0, 0, 1, -1, 0], *[[] for _ in range(10)]]}),
        ("yolov5n-akconv-official", {"taps": 9}),
        ("yolov5m-akconv-official", {"taps": 2, "tables": [[0, 0, 1, 1]] * 6}),
        ("yolov5nu", {"classes": 1}),
        ("yolov8n", {"classes": 3, "class_width": 80}),
        ("yolo11x", {}),
        ("yolo11n-seam", {"classes": 200}),
        ("yolo11n-multiseam", {"class_width": 64}),
    ],
)
def test_options_survive_json_and_rebuild_the_same_architecture(
    detector: str, options: dict[str, Any]
) -> None:
    first = built_without_weights(detector, **options)
    stored = json.loads(json.dumps(first.options))
    assert stored == first.options
    assert options.items() <= stored.items()
    second = built_without_weights(detector, **stored)
    assert second.options == first.options
    shapes = [{name: value.shape for name, value in m.state_dict().items()} for m in (first, second)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("yolov5n-akconv", {"grid": "xy"}, r'yolov5n-akconv: grid="xy" reads rows as columns.*"ij" is right'),
        (
            "yolov5n-akconv-official",
            {"taps": 4, "tables": [[0, 0, 1, 0, 0, 1, 1, 1], *[[] for _ in range(5)]]},
            r'list their taps column by column.*load them with grid="xy"',
        ),
    ],
)
def test_a_grid_that_mixes_up_rows_and_columns_is_warned_of_once(
    detector: str, options: dict[str, Any], message: str
) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        built_without_weights(detector, **options)
    assert len(caught) == 1


@pytest.mark.parametrize("detector", ["yolov5n-akconv", "yolov5n-akconv-official"])
def test_the_right_grid_is_not_warned_of(detector: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built_without_weights(detector)


@pytest.mark.parametrize(
    ("classes", "width"), [(1, 64), (65, 65), (80, 80), (100, 100), (1203, 100)], ids=str
)
def test_class_width_follows_the_classes_where_it_is_not_given(classes: int, width: int) -> None:
    assert built_without_weights("yolo11n", classes=classes).options["class_width"] == width


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("yolo11q", {}, r"unknown detector 'yolo11q': did you mean yolo11\w or "),
        ("YOLOv8n", {}, r"unknown detector 'YOLOv8n': did you mean yolov8n or "),
        (
            "yolo11n",
            {"class": 3},
            r"expected options among classes, class_width, got 'class'; did you mean classes",
        ),
        (
            "yolo11n",
            {"anchors": []},
            r"expected options among classes, class_width, got 'anchors'; leave it out",
        ),
        ("yolov5n", {"class_width": 80}, r"expected options among classes, anchors, got 'class_width'"),
        ("yolo11n", {"classes": 0}, r"classes: expected a whole number of at least 1, got 0"),
        ("yolo11n", {"classes": True}, r"classes: expected a whole number of at least 1, got True"),
        ("yolov5n", {"classes": "80"}, r"classes: expected a whole number of at least 1, got '80'"),
        ("yolo11n", {"class_width": 1.5}, r"class_width: expected a whole number"),
        ("yolo11n-seam", {"class_width": 8}, r"class_width: expected at least 16, got 8"),
        ("yolov5n", {"anchors": []}, r"anchors: expected three levels .* got \[\]"),
        ("yolov5n", {"anchors": [[[1, 2]], [[3, 4]], [[5, -6]]]}, r"anchors: expected three levels"),
        ("yolov5n", {"anchors": [[[1, 2]], [[3, 4]], [[5, 6], [7, 8]]]}, r"equally many"),
        ("yolov5n", {"anchors": "none"}, r"anchors: expected three levels"),
        ("yolov5n", {"grid": "ij"}, r"expected options among classes, anchors, got 'grid'"),
        ("yolov5n-akconv", {"grid": "yx"}, r"grid: expected ij or xy, got 'yx'"),
        ("yolov5n-akconv", {"taps": 3}, r"expected options among classes, anchors, grid, tables, got 'taps'"),
        ("yolov5n-akconv", {"tables": [[0, 0, 0, 1, 1, 0]]}, r"tables: expected 11, one for each .* got 1"),
        ("yolov5n-akconv", {"tables": [[0, 0]] * 11}, r"tables: expected 6 numbers .* got \[0, 0\]"),
        ("yolov5n-akconv", {"tables": [[0.5, 0]] * 11}, r"tables: expected one list of whole numbers"),
        ("yolov5n-akconv", {"tables": "none"}, r"tables: expected one list of whole numbers"),
        ("yolov5n-akconv-official", {"taps": 0}, r"taps: expected a whole number of at least 1, got 0"),
        ("yolov5n-akconv-official", {"taps": 65}, r"taps: expected at most 64, got 65"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    detector: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(detector, **options)


def test_neither_the_package_nor_its_names_need_torch() -> None:
    program = (
        "import sys, tercelet.training as t; t.detector_names(); t.DETECTORS; dir(t); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    import tercelet.training

    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        _ = tercelet.training.biuld
