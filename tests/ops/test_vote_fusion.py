"""VoteFusion: upstream's numbers in every form, and defined results where upstream has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from native_ops import require_tools
from reference_cases import load_case, seeded_weights

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import DOMAIN, Case
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import function_of
from tercelet.ops.bindings.onnx_bytes import bytes_from_op
from tercelet.ops.building import build_library
from tercelet.ops.vote_fusion.body import BODIES
from tercelet.ops.vote_fusion.cases import WIDTH, drawn
from tercelet.ops.vote_fusion.spec import CLASSES, ROWS, SPEC
from tercelet.ops.vote_fusion.torch_kernel import vote_fusion
from tercelet.runtime.backends.onnxruntime import open_runner

# The tolerance that the fixtures' page gives.
TOLERANCE = 2e-4
# The same operations in the same order; a library may contract a product and a sum.
ROUNDING = 2e-6
BGR_MEAN = (103.530, 116.280, 123.675)
CASES = [pytest.param(case, id=case.name) for case in SPEC.cases()]
FIXTURES = (
    "plain",
    "one_box",
    "two_boxes",
    "zero_boxes",
    "aug",
    "aug_trans",
    "imgflip",
    "behind",
    "outside",
    "conf_one",
    "overlap_many",
    "noscale",
    "w_mult32",
)
# Where the modes differ, and the votes that mode safe counts.
UNSAFE = {"zero_boxes": 0, "aug_trans": None, "behind": None, "conf_one": None}
Inputs = tuple[np.ndarray, ...]


def matrices_of(meta: dict[str, Any], depth2img: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """depth2img (3, 4) that undoes the augmentation of the cloud, and picture (2, 3)."""
    steps = {
        "R": np.array(meta["pcd_rotation"]),
        "S": np.eye(3) * meta["pcd_scale_factor"],
        "T": np.eye(3),
        "HF": np.diag([-1.0, 1, 1]) if meta["pcd_horizontal_flip"] else np.eye(3),
        "VF": np.diag([1.0, -1, 1]) if meta["pcd_vertical_flip"] else np.eye(3),
    }
    linear, shift = np.eye(3), np.zeros(3)
    for step in meta["transformation_3d_flow"]:
        linear, shift = linear @ steps[step], shift @ steps[step]
        shift = shift + np.array(meta["pcd_trans"]) * (step == "T")
    matrix = depth2img @ np.linalg.inv(linear).T
    height, width = meta["img_shape"][:2]
    scale = meta["scale_factor"]
    picture = np.array([[scale[0], 0, width], [scale[1], 0, height]])
    if meta["flip"]:
        picture[0, :2] = -scale[0], width
    return np.concatenate((matrix, -(matrix @ shift)[:, None]), 1), picture


@pytest.fixture(scope="module", params=FIXTURES)
def fixture(request: pytest.FixtureRequest, shared: Path) -> tuple[str, Inputs, dict[str, np.ndarray]]:
    """The op's inputs for a stored sub-case, and what upstream gives."""
    name = request.param
    case, _, inputs, outputs = load_case(shared, "imv_vote_fusion")
    meta, seeds = case["metas"][name], inputs[f"{name}.seeds"]
    matrix, picture = matrices_of(meta, inputs[f"{name}.depth2img"])
    (height, width), padded = meta["img_shape"][:2], meta["pad_shape"][:2]
    image = seeded_weights(shared).image_for(meta["img_tag"], (1, 3, *padded))[0] * 255
    pixels = (image - np.reshape(BGR_MEAN, (3, 1, 1))) / 255
    uvz = np.pad(seeds.astype(np.float64), ((0, 0), (0, 1)), constant_values=1) @ matrix.T
    uv = np.rint(uvz[:, :2] / uvz[:, 2:] - 1)
    places = np.rint(uv * picture[:, 0] + picture[:, 1])
    column, row = (np.clip(places[:, k], 0, (width, height)[k] - 1).astype(int) for k in (0, 1))
    given = (seeds, pixels[:, row, column].T, inputs[f"{name}.boxes"], matrix, picture)
    expected = {key: outputs[f"{name}.{key}"] for key in ("feat", "mask", "uvz")}
    return name, tuple(array.astype(np.float32) for array in given), expected


def of_torch(inputs: Inputs, mode: str) -> list[np.ndarray]:
    tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in inputs)
    return [output.numpy() for output in vote_fusion(*tensors, mode=mode)]


def model_of(inputs: Inputs, mode: str, *, has_body: bool) -> bytes:
    """A model of one node."""
    model = onnx.load_from_string(bytes_from_op(SPEC, [array.shape for array in inputs], {"mode": mode}))
    if has_body:
        model.functions.append(function_of(SPEC, BODIES[0].form, opset=19, variant=mode))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def ran(model: bytes, inputs: Inputs, library: Path | None = None) -> list[np.ndarray]:
    names = [item.name for item in SPEC.inputs]
    outputs = open_runner(model, library=library).run(dict(zip(names, inputs, strict=True)))
    return [outputs[item.name] for item in SPEC.outputs]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native library with this op in it."""
    require_tools("cmake", "g++")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, SPEC.name, SPEC)
        return build_library(cache=tmp_path_factory.mktemp("cache")).path


def assert_same(got: list[np.ndarray], expected: Any, tolerance: float) -> None:
    """Masks alike, cues within the tolerance of the largest."""
    assert np.array_equal(got[1], expected[1])
    assert got[0].shape == expected[0].shape
    largest = max(1.0, float(np.abs(expected[0]).max(initial=0)))
    assert float(np.abs(got[0] - expected[0]).max(initial=0)) <= tolerance * largest


def by_content(cues: np.ndarray) -> np.ndarray:
    """The votes of each seed in an order of their own: upstream leaves that of equal scores open."""
    votes = cues.reshape(ROWS, 3, -1).transpose(2, 1, 0)
    return np.stack([rows[np.lexsort(rows.round(2).T)] for rows in votes])


def test_upstreams_numbers_come_out_in_mode_parity(fixture: Any) -> None:
    name, inputs, expected = fixture
    cues, mask = SPEC.reference(*inputs, mode="parity")
    assert np.array_equal(mask.astype(bool), expected["mask"])
    if name == "conf_one":  # two boxes of confidence 1
        cues, wanted = by_content(cues), by_content(expected["feat"])
    else:
        wanted = expected["feat"]
    assert float(np.abs(cues - wanted).max()) <= TOLERANCE * max(1.0, float(np.abs(wanted).max()))


def test_the_matrix_holds_the_augmentation_of_the_cloud(fixture: Any) -> None:
    _, (seeds, _, _, matrix, _), expected = fixture
    uvz = np.pad(seeds, ((0, 0), (0, 1)), constant_values=1).astype(np.float64) @ matrix.T.astype(np.float64)
    uvz[:, :2] /= uvz[:, 2:]
    assert np.abs(uvz - expected["uvz"]).max() <= TOLERANCE * np.abs(expected["uvz"]).max()


def test_the_modes_agree_wherever_upstream_is_sound(fixture: Any) -> None:
    name, inputs, _ = fixture
    safe, parity = (SPEC.reference(*inputs, mode=mode) for mode in ("safe", "parity"))
    is_same = all(np.array_equal(mine, theirs) for mine, theirs in zip(safe, parity, strict=True))
    assert is_same == (name not in UNSAFE)
    assert safe[1].sum() <= parity[1].sum()


@pytest.mark.parametrize("mode", ["safe", "parity"])
def test_every_form_gives_the_numbers_of_the_fixture(fixture: Any, mode: str) -> None:
    _, inputs, _ = fixture
    expected = SPEC.reference(*inputs, mode=mode)
    assert_same(of_torch(inputs, mode), expected, ROUNDING)
    assert_same(ran(model_of(inputs, mode, has_body=True), inputs), expected, ROUNDING)


@pytest.mark.parametrize("case", CASES)
def test_torch_and_the_body_are_the_reference(case: Case) -> None:
    mode = str(case.attributes["mode"])
    expected = SPEC.reference(*case.inputs, mode=mode)
    assert_same(of_torch(case.inputs, mode), expected, ROUNDING)
    assert_same(ran(model_of(case.inputs, mode, has_body=True), case.inputs), expected, ROUNDING)


@pytest.mark.parametrize("case", CASES)
def test_the_native_kernel_is_the_reference(case: Case, library: Path) -> None:
    mode = str(case.attributes["mode"])
    model = model_of(case.inputs, mode, has_body=False)
    got = ran(model, case.inputs, library)
    assert_same(got, SPEC.reference(*case.inputs, mode=mode), ROUNDING)


@pytest.mark.parametrize("case", CASES)
def test_whatever_comes_in_mode_safe_gives_finite_numbers(case: Case) -> None:
    cues, mask = SPEC.reference(*case.inputs, mode="safe")
    assert np.isfinite(cues).all()
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert not cues[:15, mask == 0].any()


def test_no_boxes_and_padding_give_no_votes_in_mode_safe() -> None:
    inputs = drawn(np.random.default_rng(0), 50, 0).arrays()
    cues, mask = SPEC.reference(*inputs, mode="safe")
    assert not mask.any()
    padded = (*inputs[:2], np.zeros((100, 6), np.float32), *inputs[3:])
    again, mask = SPEC.reference(*padded, mode="safe")
    assert not mask.any()
    assert np.array_equal(cues, again)
    _, mask = SPEC.reference(*inputs, mode="parity")
    assert mask.tolist() == [1.0] * 50 + [0.0] * 100


def test_padding_changes_nothing() -> None:
    inputs = drawn(np.random.default_rng(1), 80, 5).arrays()
    padded = (*inputs[:2], np.pad(inputs[2], ((0, 95), (0, 0))), *inputs[3:])
    for mode in ("safe", "parity"):
        assert_same(SPEC.reference(*padded, mode=mode), SPEC.reference(*inputs, mode=mode), 0)


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        ((0.0, 0.0, 0.0), "at the camera"),
        ((0.0, -2.0, 0.0), "behind it"),
        ((30.0, 2.0, 0.0), "beside the picture"),
        ((np.nan, 2.0, 0.0), "not a number"),
        ((0.0, np.inf, 0.0), "infinitely far"),
    ],
)
def test_a_seed_that_the_camera_cannot_see_has_no_vote(seed: tuple[float, ...], why: str) -> None:
    inputs = drawn(np.random.default_rng(2), 1, 1)
    inputs.boxes[0, :4] = (-1e6, -1e6, 1e6, 1e6)
    before = SPEC.reference(*inputs.arrays())[1]
    inputs.seeds[0] = seed
    assert (before.sum(), SPEC.reference(*inputs.arrays())[1].sum()) == (1, 0), why


def test_a_vote_points_from_a_seed_to_the_centre_of_its_box() -> None:
    inputs = drawn(np.random.default_rng(3), 1, 1)
    inputs.boxes[0] = (-1e6, -1e6, 1e6 + WIDTH, 1e6, 0.75, 4)
    pixel = (inputs.picture[:, 0] * 0 + [WIDTH / 2 / inputs.picture[0, 0], 0]).astype(np.float64)
    cues, mask = SPEC.reference(*inputs.arrays())
    matrix = inputs.depth2img[:, :3].astype(np.float64)
    u, v, depth = matrix @ inputs.seeds[0]
    u, v = np.rint(u / depth - 1), np.rint(v / depth - 1)
    moved = inputs.seeds[0] + np.linalg.inv(matrix) @ ((pixel[0] - u) * depth, (pixel[1] - v) * depth, 0)
    ray = moved / np.linalg.norm(moved)
    assert cues[2:5, 0] == pytest.approx(ray, abs=1e-4)
    assert cues[:2, 0] == pytest.approx(
        (ray / ray[1] * inputs.seeds[0, 1] - inputs.seeds[0])[[0, 2]], abs=1e-4
    )
    assert cues[5:15, 0].tolist() == [0.75 * (k == 4) for k in range(CLASSES)]
    assert cues[15:, 0] == pytest.approx(inputs.texture[0])
    assert mask.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("index", "shape", "match"),
    [
        (0, (5, 4), "seeds: expected n x 3, got 5 x 4"),
        (1, (4, 3), "texture: expected n x 3, got 4 x 3"),
        (2, (2, 5), "boxes: expected K x 6, got 2 x 5"),
        (3, (3, 3), "depth2img: expected 3 x 4, got 3 x 3"),
        (4, (2, 2), "picture: expected 2 x 3, got 2 x 2"),
        (2, (65537, 6), "boxes: expected at most 65536, got 65537"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(index: int, shape: tuple[int, ...], match: str) -> None:
    inputs = list(drawn(np.random.default_rng(0), 5, 2).arrays())
    inputs[index] = np.zeros(shape, np.float32)
    with pytest.raises(InputError, match=match):
        SPEC.reference(*inputs)
    with pytest.raises(InputError, match=match):
        of_torch(tuple(inputs), "safe")


def test_unknown_modes_and_doubles_are_refused() -> None:
    inputs = drawn(np.random.default_rng(0), 5, 2).arrays()
    with pytest.raises(InputError, match="mode: expected one of safe, parity, got 'fast'"):
        SPEC.reference(*inputs, mode="fast")
    with pytest.raises(InputError, match=r"VoteFusion: seeds: expected float32, got torch\.float64"):
        of_torch((inputs[0].astype(np.float64), *inputs[1:]), "safe")


def test_a_body_of_one_mode_is_one_function_of_the_domain() -> None:
    function = function_of(SPEC, "standard", opset=17, variant="safe")
    assert (function.domain, function.name) == (DOMAIN, "VoteFusion")
    read = {name for node in function.node for name in node.input} | set(function.output)
    assert all(read.intersection(node.output) for node in function.node)
