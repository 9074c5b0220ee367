"""AKConv through export and build-ops: fused, given bodies, made native, refused where something is wrong."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import lively_detector

from tercelet.contract.artefact import finish_artefact, read_manifest
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Provenance
from tercelet.contract.scenes import synthetic_frame
from tercelet.export import build_ops, export
from tercelet.export.op_lowering import LARGEST_OP_DIFFERENCE
from tercelet.export.passes.fuse_akconv import fuse_akconv
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import detach_bodies
from tercelet.runtime import open_pipeline
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import write_image
from tercelet.training.checkpoint import write_checkpoint

AKCONV_LAYERS = 11
# The native kernel against standard operators, both float32, through a whole small network.
SCORE_TOLERANCE, PIXEL_TOLERANCE = 1e-4, 0.05


def checkpoint_of(folder: Path, name: str, **options: Any) -> Path:
    provenance = Provenance(
        source="seeded", sha256="0" * 64, format="none", licence="Apache-2.0", image_size=64
    )
    detector = lively_detector(name, classes=3, **options)
    write_checkpoint(folder, detector, labels=("cat", "dog", "owl"), provenance=provenance)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("akconv") / "ak-checkpoint", "yolov5n-akconv")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    return export(checkpoint, output=checkpoint.parent / "ak-bundle")


@pytest.fixture(scope="module")
def native(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("needs cmake and g++ to build the native ops")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERCELET_CACHE", str(tmp_path_factory.mktemp("cache")))
        build_ops(bundle, output=bundle.parent / "native-bundle")
    return bundle.parent / "native-bundle"


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_every_akconv_layer_is_one_node_with_a_body(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    kinds = [node.op_type for node in model.graph.node if node.domain == "tercelet"]
    assert kinds == ["AKConv"] * AKCONV_LAYERS
    assert [(function.domain, function.name) for function in model.functions] == [("tercelet", "AKConv")]
    onnx.checker.check_model(model, full_check=True)


def test_the_manifest_says_which_form_was_chosen_and_why(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.network is not None
    assert manifest.lowering is not None
    assert (manifest.network.ops, manifest.network.opset) == (("tercelet::AKConv",), 19)
    low = manifest.lowering
    assert low.reason == "measured"
    assert set(low.milliseconds) == {"row_gather", "deform_conv"}
    assert low.forms == {"AKConv": min(low.milliseconds, key=lambda form: low.milliseconds[form])}
    assert low.engine.startswith("onnxruntime ")
    assert low.ops_difference is not None
    assert low.ops_difference <= LARGEST_OP_DIFFERENCE
    assert manifest.plugins == ()


@pytest.mark.parametrize("form", ["row_gather", "deform_conv"])
def test_a_form_that_was_asked_for_is_taken(checkpoint: Path, tmp_path: Path, form: str) -> None:
    made = export(checkpoint, output=tmp_path / "b", op_form=form)
    manifest = read_manifest(made)
    assert manifest.lowering is not None
    assert (manifest.lowering.forms, manifest.lowering.reason) == ({"AKConv": form}, "asked")
    inner = {node.op_type for node in onnx.load(made / "model.onnx").functions[0].node}
    assert ("DeformConv" in inner) == (form == "deform_conv")


def test_an_opset_before_deform_conv_leaves_gathered_rows(checkpoint: Path, tmp_path: Path) -> None:
    manifest = read_manifest(export(checkpoint, output=tmp_path / "b", opset=17))
    assert manifest.network is not None
    assert manifest.lowering is not None
    assert manifest.network.opset == 17
    assert (manifest.lowering.forms, manifest.lowering.reason) == ({"AKConv": "row_gather"}, "only")
    with pytest.raises(InputError, match="deform_conv needs opset 19, got 18"):
        export(checkpoint, output=tmp_path / "c", opset=18, op_form="deform_conv")
    assert not (tmp_path / "c").exists()


def test_inlined_ops_leave_standard_nodes_alone(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    made = export(checkpoint, output=tmp_path / "b", inline_ops=True)
    model = onnx.load(made / "model.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert {entry.domain for entry in model.opset_import} == {""}
    manifest = read_manifest(made)
    assert manifest.network is not None
    assert manifest.network.ops == ()
    frame = synthetic_frame(3, height=60, width=64)
    same_detections(made, bundle, frame)
    with pytest.raises(InputError, match="has no custom ops, so there is nothing to build"):
        build_ops(made)


def same_detections(first: Path, second: Path, frame: np.ndarray) -> None:
    with (
        open_pipeline(first, score_threshold=0.05) as one,
        open_pipeline(second, score_threshold=0.05) as two,
    ):
        a, b = one(frame), two(frame)
    assert len(a.scores) == len(b.scores) > 0
    assert np.allclose(a.scores, b.scores, atol=SCORE_TOLERANCE)
    assert np.allclose(a.boxes, b.boxes, atol=PIXEL_TOLERANCE)


def test_a_native_bundle_finds_the_same_and_says_that_it_is_native(bundle: Path, native: Path) -> None:
    same_detections(native, bundle, synthetic_frame(5, height=60, width=64))
    (plugin,) = read_manifest(native).plugins
    assert (plugin.machine, plugin.system) == (platform.machine(), platform.system())
    assert plugin.ops == tuple(f"tercelet::{name}" for name in OPS)
    with open_pipeline(native) as detect:
        assert "with native ops" in detect.session.backend
    with open_pipeline(bundle) as detect:
        assert "native" not in detect.session.backend


def test_a_library_whose_sha256_differs_is_never_loaded(native: Path, tmp_path: Path) -> None:
    spoilt = copy_of(native, tmp_path / "spoilt")
    (plugin,) = read_manifest(spoilt).plugins
    with (spoilt / plugin.file).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckFailedError, match="libtercelet_ops.*sha256 .* differs from"):
        open_pipeline(spoilt)


def test_a_library_for_another_machine_is_left_alone(native: Path, tmp_path: Path) -> None:
    other = copy_of(native, tmp_path / "other")
    manifest = read_manifest(other)
    (plugin,) = manifest.plugins
    (other / plugin.file).write_bytes(b"not for this machine")
    finish_artefact(other, replace(manifest, plugins=(replace(plugin, machine="pdp11"),)))
    with open_pipeline(other) as detect:
        assert "native" not in detect.session.backend


def test_a_library_that_does_not_load_says_how_to_build_one(native: Path, tmp_path: Path) -> None:
    broken = copy_of(native, tmp_path / "broken")
    manifest = read_manifest(broken)
    (broken / manifest.plugins[0].file).write_bytes(b"\x7fELF and nothing more")
    finish_artefact(broken, manifest)
    with pytest.raises(CheckFailedError, match="cannot be loaded here: .*tercelet build-ops"):
        open_pipeline(broken)


def test_build_ops_replaces_the_bundle_itself_and_may_be_repeated(
    native: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    mine = copy_of(bundle, tmp_path / "mine")
    for _ in range(2):
        built = build_ops(mine)
        assert built.bundle == mine
        assert len(read_manifest(mine).plugins) == 1
    assert [library.was_cached for library in built.libraries] == [True]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_damaged_library_is_repaired_by_building_it_again(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    damaged = copy_of(native, tmp_path / "damaged")
    (damaged / read_manifest(damaged).plugins[0].file).write_bytes(b"")
    monkeypatch.chdir(damaged)
    build_ops(".")
    with open_pipeline(damaged) as detect:
        assert "with native ops" in detect.session.backend


def test_a_bundle_can_be_run_without_its_native_ops(native: Path, tmp_path: Path) -> None:
    broken = copy_of(native, tmp_path / "broken")
    manifest = read_manifest(broken)
    (broken / manifest.plugins[0].file).write_bytes(b"\x7fELF of a newer system")
    finish_artefact(broken, manifest)
    write_image(tmp_path / "frame.png", synthetic_frame(1, height=60, width=64))
    picture = str(tmp_path / "frame.png")
    assert main(["run", str(broken), picture]) == 1
    assert main(["run", str(broken), picture, "--no-native-ops"]) == 0


def test_two_libraries_for_one_machine_are_refused_by_name(native: Path, tmp_path: Path) -> None:
    double = copy_of(native, tmp_path / "double")
    manifest = read_manifest(double)
    (plugin,) = manifest.plugins
    shutil.copy(double / plugin.file, double / "plugins" / "again.so")
    again = replace(plugin, file="plugins/again.so")
    finish_artefact(double, replace(manifest, plugins=(plugin, again)))
    with pytest.raises(InputError, match=r"expected one library .*again\.so"):
        open_pipeline(double)


def test_forms_of_ops_that_are_not_there_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for asked in ({"op_form": "deform_conv"}, {"inline_ops": True}):
        with pytest.raises(InputError, match="has no custom ops: leave out --op-form"):
            export(tiny_checkpoint, output=tmp_path / "b", **asked)  # type: ignore[arg-type]


def test_an_unknown_form_is_refused_with_those_there_are(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected auto, row_gather, deform_conv, got 'fastest'"):
        export(checkpoint, output=tmp_path / "b", op_form="fastest")


def test_the_command_builds_into_a_bundle_and_reports(
    bundle: Path,
    native: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "made.json"
    assert main(["build-ops", str(bundle), "-o", str(tmp_path / "n"), "--json", str(target)]) == 0
    assert "AKConvSample, AKConv" in capsys.readouterr().out
    said = json.loads(target.read_text())
    assert said["bundle"] == str(tmp_path / "n")
    assert said["conformance"]["difference"] < LARGEST_OP_DIFFERENCE
    assert main(["inspect", str(tmp_path / "n")]) == 0
    shown = capsys.readouterr().out
    assert "native ops" in shown
    assert "without native" in shown


def test_what_cannot_be_built_is_refused_and_nothing_changes(
    bundle: Path, checkpoint: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(bundle.rglob("*"))
    with pytest.raises(InputError, match="expected a bundle, got a checkpoint"):
        build_ops(checkpoint)
    with pytest.raises(InputError, match="has no custom ops"):
        build_ops(tiny_bundle)
    with pytest.raises(InputError, match="expected a bundle to put the library into"):
        build_ops(output=tmp_path / "x")
    with pytest.raises(InputError, match="already exists"):
        build_ops(bundle, output=checkpoint.parent)
    with pytest.raises(InputError, match="expected onnxruntime among the backends"):
        build_ops(bundle, backends=("cuda",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="needs CMake: apt install cmake"):
        build_ops(bundle)
    assert sorted(bundle.rglob("*")) == before


def test_a_compiler_that_fails_is_quoted_and_leaves_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    compiler = tmp_path / "broken++"
    compiler.write_text("#!/bin/sh\necho 'error: planted' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        CheckFailedError, match=r"does not configure the native ops: .*(broken|planted|error)"
    ):
        build_ops()
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_the_xy_grid_goes_through_export_and_differs_from_ij(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="xy"):
        folder = checkpoint_of(tmp_path / "xy-checkpoint", "yolov5n-akconv", grid="xy")
    with pytest.warns(UserWarning, match="xy"):
        made = export(folder, output=tmp_path / "xy", op_form="row_gather")
    nodes = [node for node in onnx.load(made / "model.onnx").graph.node if node.domain == "tercelet"]
    assert {item.s for node in nodes for item in node.attribute if item.name == "grid"} == {b"xy"}


def test_chains_of_another_form_are_left_alone(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    detach_bodies(model)
    before = model.SerializeToString()
    assert fuse_akconv(model) == 0
    assert model.SerializeToString() == before


def test_an_official_akconv_with_other_taps_exports(tmp_path: Path) -> None:
    folder = checkpoint_of(tmp_path / "o-checkpoint", "yolov5n-akconv-official", taps=7)
    made = export(folder, output=tmp_path / "o")
    model = onnx.load(made / "model.onnx")
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    weights = [shapes[node.input[2]] for node in model.graph.node if node.domain == "tercelet"]
    assert len(weights) == 6
    assert all(shape[2:] == [1, 7] for shape in weights)
    runner = open_runner((made / "model.onnx").read_bytes())
    assert set(runner.run({"canvases": np.zeros((1, 64, 64, 3), np.uint8)})) == {
        "boxes",
        "scores",
        "class_ids",
    }
