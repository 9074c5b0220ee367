"""Upstream states: what is taken from them, what is tolerated, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tercelet.contract.errors import InputError
from tercelet.training import build, load_upstream

SMALL = ("yolov5n", "yolov8n")
OWN_ANCHORS = [[[5.0, 6.5], [9.0, 8.0]], [[20.0, 24.0], [31.0, 29.0]], [[60.0, 80.0], [130.0, 120.0]]]
FIRST = "model.0.conv.weight"

State = dict[str, Any]


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """States of freshly built detectors with 3 classes, as numpy arrays."""
    torch.manual_seed(0)
    return {
        name: {key: value.numpy() for key, value in build(name, classes=3).state_dict().items()}
        for name in SMALL
    }


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key not in names}


def with_added(**added: Any) -> Callable[[State], State]:
    return lambda state: {**state, **{key.replace("__", "."): value for key, value in added.items()}}


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + key: value for key, value in state.items()}


def replaced(name: str, value: Any) -> Callable[[State], State]:
    return lambda state: {**state, name: value}


def test_an_empty_state_is_refused() -> None:
    with pytest.raises(InputError, match="yolov5n: expected named tensors, got an empty mapping"):
        load_upstream("yolov5n", {})


@pytest.mark.parametrize("name", SMALL)
def test_a_state_comes_back_bit_for_bit_and_in_eval_mode(states: dict[str, State], name: str) -> None:
    model = load_upstream(name, states[name])
    got = model.state_dict()
    assert list(got) == list(states[name])
    assert all(np.array_equal(got[key].numpy(), value) for key, value in states[name].items())
    assert not model.training
    assert model.classes == 3


def test_the_detector_owns_its_tensors(states: dict[str, State]) -> None:
    state = {key: torch.from_numpy(value.copy()) for key, value in states["yolov8n"].items()}
    model = load_upstream("yolov8n", state)
    state[FIRST].zero_()
    assert float(model.state_dict()[FIRST].abs().max()) > 0
    assert model.get_parameter(FIRST).requires_grad
    assert not model.get_parameter("model.22.dfl.conv.weight").requires_grad


def test_anchors_are_taken_from_the_state_in_pixels() -> None:
    trained = build("yolov5n", classes=2, anchors=OWN_ANCHORS)
    loaded = load_upstream("yolov5n", trained.state_dict())
    assert loaded.options == {"classes": 2, "anchors": OWN_ANCHORS}
    assert load_upstream("yolov5n", trained.state_dict(), anchors=OWN_ANCHORS).options == loaded.options


def test_class_width_is_taken_from_a_state_that_was_fine_tuned_from_more_classes() -> None:
    trained = build("yolov8n", classes=1, class_width=80)
    assert load_upstream("yolov8n", trained.state_dict()).options == {"classes": 1, "class_width": 80}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("yolov8n", prefixed("module.")),
        ("yolov8n", lambda state: prefixed("model.")(state)),
        ("yolov8n", lambda state: prefixed("module.model.")(state)),
        ("yolov5n", with_added(model__24__anchor_grid=np.zeros((3, 1, 3, 1, 1, 2), np.float32))),
        ("yolov5n", lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}),
    ],
    ids=["module.", "model.model.", "module.model.model.", "anchor_grid", "no counters"],
)
def test_harmless_differences_are_tolerated(
    states: dict[str, State], name: str, change: Callable[[State], State]
) -> None:
    got = load_upstream(name, change(states[name])).state_dict()
    assert all(np.array_equal(got[key].numpy(), value) for key, value in states[name].items())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, torch.bfloat16], ids=str)
def test_floats_of_any_precision_become_float32(states: dict[str, State], dtype: Any) -> None:
    state = {
        key: torch.from_numpy(value).to(dtype)
        if isinstance(dtype, torch.dtype) and value.dtype.kind == "f"
        else value.astype(dtype)
        if value.dtype.kind == "f"
        else value
        for key, value in states["yolov8n"].items()
    }
    model = load_upstream("yolov8n", state)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    want = torch.as_tensor(state[FIRST]).float()
    assert torch.equal(model.state_dict()[FIRST], want)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("yolov8n", without(FIRST, "model.2.cv1.conv.weight"), rf"2 of 355 names missing, first {FIRST}$"),
        ("yolov8n", with_added(ema__0=np.zeros(1), ema__1=np.zeros(1)), r"2 unexpected, first ema.0$"),
        (
            "yolov8n",
            replaced(FIRST, np.zeros((16, 1, 3, 3), np.float32)),
            rf"1 misshapen, first {FIRST}: expected \(16, 3, 3, 3\), got \(16, 1, 3, 3\)$",
        ),
        (
            "yolov8n",
            lambda state: {**without(FIRST)(state), "extra": np.zeros(1)},
            rf"1 of 355 names missing, first {FIRST}; 1 unexpected, first extra$",
        ),
        (
            "yolov8n",
            replaced(FIRST, np.zeros((16, 3, 3, 3), np.int8)),
            rf"1 of another type, first {FIRST}: expected torch.float32, got torch.int8",
        ),
        (
            "yolov8n",
            replaced(FIRST, np.full((16, 3, 3, 3), np.nan)),
            rf"{FIRST}: expected finite numbers, got nan or infinity",
        ),
        ("yolov8n", replaced(FIRST, "text"), rf"{FIRST}: expected a tensor or an array of numbers, got str"),
        ("yolov8n", prefixed("net."), r"355 of 355 names missing|355 unexpected, first net\.model\.0"),
        ("yolov5n", without("model.24.anchors"), r"1 of 349 names missing, first model.24.anchors"),
        (
            "yolov8n",
            with_added(model__22__anchor_grid=np.zeros(1)),
            r"1 unexpected, first model.22.anchor_grid",
        ),
        (
            "yolov5n",
            replaced("model.24.m.0.weight", np.zeros((25, 64, 1, 1), np.float32)),
            r"model.24.m.0.weight: expected 3 anchors x \(5 \+ classes\) rows, got shape \(25, 64, 1, 1\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_the_first_of_each_kind(
    states: dict[str, State], name: str, change: Callable[[State], State], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_upstream(name, change(states[name]))


@pytest.mark.parametrize("asked", ["yolov8s", "yolo11n"])
def test_weights_of_another_detector_are_recognised(states: dict[str, State], asked: str) -> None:
    with pytest.raises(InputError, match=rf"{asked}: the weights do not fit: .*; they fit yolov8n$"):
        load_upstream(asked, states["yolov8n"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "yolov8n",
            {"classes": 80},
            r"classes=80 was asked for, but the weights have classes=3; leave classes",
        ),
        ("yolov5n", {"classes": 80}, r"classes=80 was asked for, but the weights have classes=3"),
        (
            "yolov8n",
            {"class_width": 80},
            r"class_width=80 was asked for, but the weights have class_width=64",
        ),
        ("yolov5n", {"anchors": OWN_ANCHORS}, r"anchors=.* was asked for, but the weights have anchors="),
        ("yolov5n", {"klasses": 3}, r"expected options among classes, anchors, got 'klasses'"),
    ],
)
def test_an_option_that_contradicts_the_state_is_refused(
    states: dict[str, State], name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_upstream(name, states[name], **options)


def test_options_that_agree_with_the_state_are_accepted(states: dict[str, State]) -> None:
    model = load_upstream("yolov8n", states["yolov8n"], classes=3, class_width=64)
    assert load_upstream("yolov8n", states["yolov8n"], **model.options).options == model.options
