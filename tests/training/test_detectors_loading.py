"""Upstream states: what is taken from them, what is tolerated, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import lively_detector
from safetensors.numpy import save_file

from tercelet.contract.errors import InputError
from tercelet.training import build, import_weights, load_checkpoint, load_upstream

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


OFFICIAL = "yolov5n-akconv-official"
# The published five taps, and other shapes such as the authors show beside them.
PUBLISHED = (0, 0, 0, 1, 1, 0, 1, 1, 2, 0)
CROSS = (-1, 0, 0, -1, 0, 0, 0, 1, 1, 0)
LINE = (0, 0, 0, 1, 0, 2, 0, 3, 0, 4)
# Columns before rows of the two by two taps.
BY_COLUMN = (0, 0, 1, 0, 0, 1, 1, 1, 2, 0)


@pytest.fixture(scope="module")
def akconv() -> Any:
    """The official variant with offsets that differ from place to place."""
    made = lively_detector(OFFICIAL, classes=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("p_conv.weight"):
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture(scope="module")
def akconv_state(akconv: Any) -> State:
    """Its state, as numpy arrays."""
    return {key: value.numpy() for key, value in akconv.state_dict().items()}


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """A picture of soft noise, wider than high."""
    coarse = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, (64, 96))


def table_tensor(taps: tuple[int, ...]) -> Any:
    """A table as LDConv keeps it: rows, then columns."""
    return np.array(taps[0::2] + taps[1::2], np.int64).reshape(1, -1, 1, 1)


def with_tables(tables: dict[int, tuple[int, ...]], state: State) -> State:
    """The state with an LDConv table for some layers, by their number."""
    return {**state, **{f"model.{layer}.p_n": table_tensor(taps) for layer, taps in tables.items()}}


def flat_weights(state: State) -> State:
    """The state with the convolutions of AKConv stored as (O, C * N, 1, 1)."""
    return {
        key: value.reshape(value.shape[0], -1, 1, 1) if key.endswith(".conv.0.weight") else value
        for key, value in state.items()
    }


@pytest.mark.parametrize("taps", [1, 3, 6])
def test_the_number_of_taps_is_taken_from_the_state(taps: int) -> None:
    state = build(OFFICIAL, classes=2, taps=taps).state_dict()
    assert load_upstream(OFFICIAL, state).options["taps"] == taps
    with pytest.raises(InputError, match=rf"taps=4 was asked for, but the weights have taps={taps}"):
        load_upstream(OFFICIAL, state, taps=4)


@torch.no_grad()
def test_convolutions_stored_as_pointwise_are_the_same_detector(
    akconv: Any, akconv_state: State, image: torch.Tensor
) -> None:
    loaded = load_upstream(OFFICIAL, flat_weights(akconv_state))
    assert loaded.state_dict()["model.1.conv.0.weight"].shape == (32, 16, 5, 1)
    assert torch.equal(loaded(image).scores, akconv(image).scores)


@torch.no_grad()
def test_ldconvs_own_copy_of_the_published_table_changes_nothing(
    akconv: Any, akconv_state: State, image: torch.Tensor
) -> None:
    layers = (1, 3, 5, 7, 18, 21)
    loaded = load_upstream(OFFICIAL, with_tables(dict.fromkeys(layers, PUBLISHED), akconv_state))
    assert list(loaded.state_dict()) == list(akconv_state)
    assert torch.equal(loaded(image).scores, akconv(image).scores)


def test_three_taps_or_fewer_in_published_order_need_no_table() -> None:
    state = with_tables({1: (0, 0, 0, 1, 1, 0)}, dict(build(OFFICIAL, taps=3).state_dict()))
    assert load_upstream(OFFICIAL, state).options["tables"] == []


@torch.no_grad()
def test_every_layer_has_the_table_that_the_state_holds_for_it(
    akconv: Any, akconv_state: State, image: torch.Tensor
) -> None:
    loaded = load_upstream(OFFICIAL, with_tables({21: CROSS, 3: LINE}, akconv_state))
    assert loaded.options["tables"] == [[], list(LINE), [], [], [], list(CROSS)]
    taps = {name: part.taps for name, part in loaded.named_modules() if hasattr(part, "taps")}
    assert list(taps.values()) == [PUBLISHED, LINE, PUBLISHED, PUBLISHED, PUBLISHED, CROSS]
    before, after = akconv.layer_outputs(image), loaded.layer_outputs(image)
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same[:3] == [True] * 3
    assert not same[3]
    assert not same[21]


def test_tables_reach_bottlenecks_too() -> None:
    name = "model.23.m.0.cv2"
    state = dict(build("yolov5n-akconv", classes=2).state_dict())
    loaded = load_upstream("yolov5n-akconv", {**state, f"{name}.p_n": table_tensor((5, 0, 0, 1, 1, 0))})
    assert loaded.get_submodule(name).taps == (5, 0, 0, 1, 1, 0)


@torch.no_grad()
def test_a_table_with_its_weights_in_another_order_is_the_same_detector(
    akconv: Any, akconv_state: State, image: torch.Tensor
) -> None:
    order = [0, 2, 1, 3, 4]
    state = with_tables({1: BY_COLUMN}, akconv_state)
    state["model.1.conv.0.weight"] = state["model.1.conv.0.weight"][:, :, order]
    both = [*order, *(5 + tap for tap in order)]
    for part in ("weight", "bias"):
        state[f"model.1.p_conv.{part}"] = state[f"model.1.p_conv.{part}"][both]
    with pytest.warns(UserWarning, match="list their taps column by column"):
        loaded = load_upstream(OFFICIAL, state)
    got, want = loaded.layer_outputs(image)[1], akconv.layer_outputs(image)[1]
    assert torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model.1.p_n",
            np.zeros((1, 6, 1, 1), np.int64),
            r"model.1.p_n: expected \(1, 10, 1, 1\), .* got \(1, 6,",
        ),
        ("model.1.p_n", np.full((1, 10, 1, 1), 0.5), r"model.1.p_n: expected whole numbers, got \[0.5"),
        ("model.1.p_n", np.full((1, 10, 1, 1), 1 << 20), r"tables: expected 10 numbers up to 1048575"),
        ("model.2.p_n", np.zeros((1, 10, 1, 1), np.int64), r"1 unexpected, first model.2.p_n$"),
        (
            "model.1.conv.0.weight",
            np.zeros((32, 81, 1, 1), np.float32),
            r"first model.1.conv.0.weight: expected \(32, 16, 5, 1\), got \(32, 81, 1, 1\)",
        ),
        (
            "model.3.p_conv.weight",
            np.zeros((6, 32, 3, 3), np.float32),
            r"first model.3.p_conv.weight: expected \(10, 32, 3, 3\), got \(6, 32, 3, 3\)",
        ),
    ],
)
def test_an_akconv_state_that_contradicts_itself_is_refused(
    akconv_state: State, name: str, value: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_upstream(OFFICIAL, {**akconv_state, name: value})


def test_tables_that_contradict_the_state_are_refused(akconv_state: State) -> None:
    state = with_tables({21: CROSS}, akconv_state)
    tables = [*[[] for _ in range(5)], list(CROSS)]
    assert load_upstream(OFFICIAL, state, tables=tables).options["tables"] == tables
    with pytest.raises(InputError, match=r"tables=.* was asked for, but the weights have tables="):
        load_upstream(OFFICIAL, state, tables=tables[::-1])


@pytest.mark.parametrize("asked", ["yolov5n", "yolov5s-akconv-official", "yolov5n-akconv"])
@pytest.mark.parametrize("change", [dict, flat_weights, lambda state: with_tables({1: CROSS}, state)])
def test_akconv_weights_are_recognised_under_another_name(
    akconv_state: State, asked: str, change: Callable[[State], State]
) -> None:
    with pytest.raises(InputError, match=rf"{asked}: the weights do not fit: .*; they fit {OFFICIAL}$"):
        load_upstream(asked, change(akconv_state))


def test_plain_weights_are_recognised_under_the_name_of_an_akconv_detector(states: dict[str, State]) -> None:
    with pytest.raises(InputError, match=rf"{OFFICIAL}: the weights do not fit: .*; they fit yolov5n$"):
        load_upstream(OFFICIAL, states["yolov5n"])


@torch.no_grad()
def test_an_ldconv_file_is_imported_and_comes_back_from_its_checkpoint(
    akconv_state: State, image: torch.Tensor, tmp_path: Path
) -> None:
    state = flat_weights(with_tables({3: CROSS, 18: PUBLISHED}, akconv_state))
    save_file({name: np.array(value) for name, value in state.items()}, tmp_path / "w.safetensors")
    output = import_weights(tmp_path / "w.safetensors", detector=OFFICIAL, output=tmp_path / "checkpoint")
    back, manifest = load_checkpoint(output)
    want = load_upstream(OFFICIAL, state)
    assert manifest.detector.options["tables"] == ((), CROSS, (), (), PUBLISHED, ())
    assert back.options == want.options
    count = 50
    for got, expected in zip(
        back.top_candidates(image, count), want.top_candidates(image, count), strict=True
    ):
        assert torch.equal(got, expected)
