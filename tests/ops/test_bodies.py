"""Bodies of standard operators: the reference's function in every form, in any stock ONNX Runtime, and not
what runs where the native library is registered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import DOMAIN, Case, OpSpec, largest_relative_difference
from tercelet.export.op_conformance import expected_of, feeds_of
from tercelet.export.op_support import Differences, model_of, outputs_of, takes
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import (
    attach_bodies,
    attributes_of,
    bodies_of,
    detach_bodies,
    function_of,
    names_read,
    node_of,
    register_schemas,
)
from tercelet.ops.bindings.onnx_bytes import IR_VERSION, OPSET, bytes_from_op
from tercelet.ops.support_table import BACKENDS, Backend
from tercelet.runtime.backends.onnxruntime import open_runner

# Sums of up to 768 products in float32 against sums in float64; 9e-7 is the most that was seen.
ROUNDING = 5e-6
FORMS = [(spec, form) for spec in OPS.values() for form in bodies_of(spec)]
# onnx.reference's DeformConv fails on axes of one pixel and takes minutes for layers: see `takes`.
RUNS = [
    pytest.param(row, spec, case, id=f"{row.name}, {spec.name}, {case.name}")
    for row in BACKENDS
    if row.kind in ("body", "onnx.reference")
    for spec, form in FORMS
    if form == row.detail
    for case in spec.cases()
    if takes(row, spec, case)
]
MODELS = [
    pytest.param(spec, form, case, id=f"{spec.name}, {form}, {case.name}")
    for spec, form in FORMS
    for case in spec.cases()
]
each_form = pytest.mark.parametrize(("spec", "form"), FORMS, ids=lambda value: getattr(value, "name", value))


@pytest.fixture(scope="module", autouse=True)
def schemas() -> None:
    """The checker knows our ops."""
    register_schemas()


def case_named(spec: OpSpec, name: str) -> Case:
    """A row of the table."""
    return next(case for case in spec.cases() if case.name == name)


def usual_case(spec: OpSpec) -> Case:
    """The case with the most numbers among those made for an edge."""
    small = [case for case in spec.cases() if not case.layer]
    return max(small, key=lambda case: sum(array.size for array in case.inputs))


@pytest.mark.parametrize(("row", "spec", "case"), RUNS)
def test_a_body_is_the_reference(row: Backend, spec: OpSpec, case: Case, differences: Differences) -> None:
    assert differences(row, spec, case) <= ROUNDING


def test_onnx_reference_runs_every_form_of_every_op_on_some_case() -> None:
    rows = {row.detail: row for row in BACKENDS if row.kind == "onnx.reference"}
    for spec, form in FORMS:
        assert sum(takes(rows[form], spec, case) for case in spec.cases()) >= 8, (spec.name, form)


@pytest.mark.parametrize(("spec", "form", "case"), MODELS)
def test_a_model_with_a_body_passes_the_checker(spec: OpSpec, form: str, case: Case) -> None:
    model = onnx.load_from_string(model_of(spec, case, form=form))
    onnx.checker.check_model(model, full_check=True)
    assert [(function.domain, function.name) for function in model.functions] == [(DOMAIN, spec.name)]
    shapes = [dimension.dim_value for dimension in model.graph.output[0].type.tensor_type.shape.dim]
    assert shapes == list(expected_of(spec, case)[0].shape)


@pytest.mark.parametrize(
    ("spec", "case"),
    [
        pytest.param(spec, case, id=f"{spec.name}, {case.name}")
        for spec in OPS.values()
        for case in (*spec.cases()[:4], *spec.cases()[-4:], usual_case(spec))
    ],
)
def test_the_bytes_are_the_model_that_the_onnx_package_makes(spec: OpSpec, case: Case) -> None:
    shapes = [array.shape for array in case.inputs]
    got = onnx.load_from_string(bytes_from_op(spec, shapes, case.attributes))
    onnx.checker.check_model(got, full_check=True)
    inputs, outputs = ([item.name for item in operands] for operands in (spec.inputs, spec.outputs))
    sizes = [
        *zip(spec.inputs, shapes, strict=True),
        *zip(spec.outputs, spec.output_shapes(shapes, case.attributes), strict=True),
    ]
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    infos = [helper.make_tensor_value_info(item.name, kinds[item.dtype], size) for item, size in sizes]
    node = node_of(spec, inputs, outputs, case.attributes)
    graph = helper.make_graph([node], spec.folder, infos[: len(inputs)], infos[len(inputs) :])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    expected = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    expected.opset_import[0].ClearField("domain")  # the helper writes the empty name, which means the same
    for model in (got, expected):  # and it sorts attributes
        model.graph.node[0].attribute.sort(key=lambda item: item.name)
    assert got == expected
    assert attributes_of(got.graph.node[0]) == spec.complete(case.attributes)


@each_form
def test_a_body_goes_on_and_off_again(spec: OpSpec, form: str) -> None:
    bare = onnx.load_from_string(model_of(spec, usual_case(spec)))
    model = onnx.ModelProto()
    model.CopyFrom(bare)
    assert attach_bodies(model, {spec.name: form}) == {spec.name: form}
    assert len(model.functions) == 1
    once = model.SerializeToString(deterministic=True)
    attach_bodies(model, {spec.name: form})
    assert model.SerializeToString(deterministic=True) == once
    detach_bodies(model)
    assert model == bare


def test_a_model_without_our_ops_is_left_alone() -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "plain", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    before = model.SerializeToString(deterministic=True)
    assert attach_bodies(model) == {}
    assert model.SerializeToString(deterministic=True) == before


def test_bodies_of_other_domains_stay() -> None:
    spec = OPS["AKConvSample"]
    model = onnx.load_from_string(model_of(spec, case_named(spec, "3 taps"), form="row_gather"))
    other = helper.make_function(
        "other", "Same", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], []
    )
    model.functions.append(other)
    detach_bodies(model)
    assert list(model.functions) == [other]


def test_an_unknown_form_is_refused() -> None:
    spec = OPS["AKConv"]
    model = onnx.load_from_string(model_of(spec, case_named(spec, "3 taps")))
    with pytest.raises(
        InputError, match=r"AKConv: expected a body among row_gather, deform_conv, got 'conv'"
    ):
        attach_bodies(model, {"AKConv": "conv"})


def test_a_form_that_needs_a_newer_opset_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"AKConv: the body deform_conv needs opset 19, got 17; take a newer"
    ):
        function_of(OPS["AKConv"], "deform_conv", opset=17, variant="ij")
    assert function_of(OPS["AKConv"], "row_gather", opset=17, variant="ij").name == "AKConv"


def test_nodes_that_need_different_variants_of_one_body_are_refused() -> None:
    spec = OPS["AKConvSample"]
    model = onnx.load_from_string(model_of(spec, case_named(spec, "xy on a square")))
    twin = model.graph.node.add()
    twin.CopyFrom(model.graph.node[0])
    twin.output[0] = "twin"
    next(item for item in twin.attribute if item.name == "grid").s = b"ij"
    with pytest.raises(InputError, match=r"AKConvSample: expected one variant in a model, got ij and xy"):
        attach_bodies(model)


WITHOUT_US = """
import sys
import numpy as np

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tercelet", "torch", "onnx"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Absent())
try:
    import tercelet
except ImportError:
    pass
else:
    sys.exit("tercelet could be imported")
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(None, dict(np.load(sys.argv[2])))[0])
"""


@each_form
def test_a_saved_model_runs_where_tercelet_is_not_installed(spec: OpSpec, form: str, tmp_path: Path) -> None:
    case = usual_case(spec)
    (tmp_path / "model.onnx").write_bytes(model_of(spec, case, form=form))
    np.savez(tmp_path / "inputs.npz", **feeds_of(spec, case))
    places = [str(tmp_path / name) for name in ("model.onnx", "inputs.npz", "output.npy")]
    command = [sys.executable, "-c", WITHOUT_US, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got = np.load(tmp_path / "output.npy")
    assert largest_relative_difference(got, expected_of(spec, case)[0]) <= ROUNDING


# An operator that shows which form ran.
SHOWN = {"deform_conv": "DeformConv", "row_gather": "Gather"}


def kernels_run(model: bytes, feeds: dict[str, np.ndarray], library: Path | None, folder: Path) -> set[str]:
    """The operators whose kernels ran, as the engine's own profile lists them."""
    settings = onnxruntime.SessionOptions()
    settings.enable_profiling = True
    settings.profile_file_prefix = str(folder / "profile")
    if library is not None:
        settings.register_custom_ops_library(str(library))
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text())
    return {
        event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and "op_name" in event["args"]
    }


@each_form
def test_a_registered_library_takes_the_place_of_the_body(
    spec: OpSpec, form: str, native_library: Path, tmp_path: Path
) -> None:
    case = usual_case(spec)
    model, feeds = model_of(spec, case, form=form), feeds_of(spec, case)
    assert kernels_run(model, feeds, native_library, tmp_path) == {spec.name}
    of_body = kernels_run(model, feeds, None, tmp_path)
    assert spec.name not in of_body
    assert form not in SHOWN or SHOWN[form] in of_body
    assert ("DeformConv" in of_body) == (form == "deform_conv")


@each_form
def test_a_body_that_computes_something_else_shows_which_of_the_two_runs(
    spec: OpSpec, form: str, native_library: Path
) -> None:
    case = usual_case(spec)
    model = onnx.load_from_string(model_of(spec, case, form=form))
    last = model.functions[0].node[-1]
    assert (last.op_type, list(last.output)) == ("Identity", [spec.outputs[-1].name])
    last.op_type = "Neg"
    # The engine's Neg of the last output; an index of 0 alone would not show it.
    expected, name = expected_of(spec, case)[-1], spec.outputs[-1].name
    assert expected.any()
    for library, sign in ((None, -1), (native_library, 1)):
        got = open_runner(model.SerializeToString(), library=library).run(feeds_of(spec, case))[name]
        assert largest_relative_difference(got, sign * expected) <= ROUNDING


@each_form
def test_weights_that_are_constant_change_nothing(spec: OpSpec, form: str) -> None:
    case = usual_case(spec)
    constants = [item.name for item in spec.inputs[2:]]
    runner = open_runner(model_of(spec, case, form=form, constants=constants))
    got = runner.run(feeds_of(spec, case, constants))[spec.outputs[0].name]
    row = next(row for row in BACKENDS if row.kind == "body" and row.detail == form)
    assert largest_relative_difference(got, outputs_of(row, spec, case, None)[0]) <= ROUNDING


@each_form
def test_a_body_holds_nothing_that_nobody_reads(spec: OpSpec, form: str) -> None:
    body = bodies_of(spec)[form]
    variants = next((item.choices for item in spec.attributes if item.name == body.variant), ("",))
    for variant in variants:
        function = function_of(spec, form, opset=19, variant=variant)
        read = {name for node in function.node for name in names_read(node)} | set(function.output)
        assert all(read.intersection(node.output) for node in function.node)
