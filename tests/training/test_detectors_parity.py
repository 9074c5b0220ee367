"""Every detector family against outputs of the upstream code, from the same weights and pictures."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_cases import keys_of, load_case, tolerance_of

from tercelet.contract.geometry import cxcywh_from_xyxy
from tercelet.training import load_upstream
from tercelet.training.detectors.yolo11_seam.seam import SEAM, MultiSEAM

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "yolov5n": ("yolov5n", {}),
    "yolov5n_akconv": ("yolov5n-akconv", {}),
    "yolov5n_akconv_xy": ("yolov5n-akconv", {"grid": "xy"}),
    "yolov5nu": ("yolov5nu", {}),
    "yolov8n": ("yolov8n", {}),
    "yolo11n": ("yolo11n", {}),
    "yolo11n_seam": ("yolo11n-seam", {}),
    "yolo11n_multiseam": ("yolo11n-multiseam", {}),
}
# The sigmoid's slope is at most a quarter; for YOLOv5 the score is a product of two of them.
SIGMOID_SLOPE = 0.25
# A sigmoid itself is rounded to float32, on both sides of a comparison.
SIGMOID_ROUNDING = 2e-7


class Reference(NamedTuple):
    """A case, the detector that was loaded with its weights, its picture, and what upstream gave."""

    name: str
    case: dict[str, Any]
    state: dict[str, NDArray[Any]]
    model: Any
    images: torch.Tensor
    expected: dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", params=sorted(CASES))
def reference(request: pytest.FixtureRequest, shared: Any) -> Reference:
    """One parity case with its detector in eval mode."""
    case, state, inputs, expected = load_case(shared, request.param)
    detector, options = CASES[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the xy grid is wrong
        model = load_upstream(detector, state, **options)
    return Reference(request.param, case, state, model, torch.from_numpy(inputs["image"]), expected)


def assert_close(case: dict[str, Any], output: str, got: Any, expected: NDArray[Any]) -> None:
    """Within the tolerance that the fixtures' page gives for this output."""
    assert got.shape == expected.shape
    assert float(np.abs(np.asarray(got) - expected).max()) <= tolerance_of(case, output, expected)


def test_state_names_and_their_order_are_those_of_upstream(reference: Reference, shared: Any) -> None:
    state = reference.model.state_dict()
    keys = keys_of(shared, reference.name)
    assert list(state) == list(keys)
    assert {name: list(value.shape) for name, value in state.items()} == {n: k[0] for n, k in keys.items()}


def test_parameters_are_as_many_as_upstream_has(reference: Reference) -> None:
    assert sum(p.numel() for p in reference.model.parameters()) == reference.case["params"]


def test_options_and_class_count_come_from_the_state(reference: Reference) -> None:
    assert reference.model.classes == reference.case["nc"]
    assert reference.model.options["classes"] == reference.case["nc"]
    assert not reference.model.training


@torch.no_grad()
def test_raw_head_outputs_match_upstream(reference: Reference) -> None:
    raw = reference.model.raw_outputs(reference.images)
    named = (
        raw._asdict() if hasattr(raw, "_asdict") else {f"raw{index}": part for index, part in enumerate(raw)}
    )
    assert set(named) == {
        name for name in reference.expected if name.startswith(("raw", "boxes_dfl", "scores"))
    }
    for name, value in named.items():
        assert_close(reference.case, name, value.numpy(), reference.expected[name])


@torch.no_grad()
def test_boxes_match_upstream_in_pixels(reference: Reference) -> None:
    boxes = cxcywh_from_xyxy(reference.model(reference.images).boxes).numpy()
    name = "decoded" if "decoded" in reference.expected else "boxes_xywh"
    expected = reference.expected[name]
    expected = expected if "raw0" in reference.expected else expected.transpose(0, 2, 1)
    assert boxes.shape == expected[..., :4].shape
    assert float(np.abs(boxes - expected[..., :4]).max()) <= tolerance_of(reference.case, name, expected)


@torch.no_grad()
def test_scores_match_upstream(reference: Reference) -> None:
    scores = reference.model(reference.images).scores.numpy()
    expected = reference.expected
    if "raw0" in expected:
        decoded = expected["decoded"]
        want = decoded[..., 5:] * decoded[..., 4:5]
        logits = max(tolerance_of(reference.case, f"raw{i}", expected[f"raw{i}"]) for i in range(3))
        tolerance = 2 * SIGMOID_SLOPE * logits + SIGMOID_ROUNDING
    else:
        logit = expected["scores_logit"].astype(np.float64).transpose(0, 2, 1)
        want = 1 / (1 + np.exp(-logit))
        logits = tolerance_of(reference.case, "scores_logit", expected["scores_logit"])
        tolerance = SIGMOID_SLOPE * logits + SIGMOID_ROUNDING
    assert scores.shape == want.shape
    assert float(np.abs(scores - want).max()) <= tolerance


@torch.no_grad()
def test_every_layer_gives_what_upstream_gives(reference: Reference) -> None:
    stats = reference.expected["layer_stats"]
    outputs = reference.model.layer_outputs(reference.images)
    assert [int(index) for index in stats[:, 0]] == list(range(len(outputs)))
    for row, output in zip(stats, outputs, strict=True):
        flat = output.numpy().ravel()
        samples = flat[np.arange(8) * 7919 % flat.size]
        got = np.array(
            [flat.mean(dtype=np.float64), flat.std(dtype=np.float64, ddof=1), np.abs(flat).max(), *samples]
        )
        assert_close({}, "layer_stats", got, row[1:])


@pytest.mark.parametrize(("name", "module"), [("seam_c64", SEAM(64)), ("multiseam_c64", MultiSEAM(64))])
@torch.no_grad()
def test_seam_modules_match_upstream_on_their_own(shared: Any, name: str, module: torch.nn.Module) -> None:
    case, state, inputs, expected = load_case(shared, name)
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    got = module.eval()(torch.from_numpy(inputs["x"])).numpy()
    assert_close(case, "out", got, expected["out"])
