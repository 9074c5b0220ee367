"""Detector and density network in one folder: what is in it, what it does, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tercelet.contract.artefact import finish_artefact, read_manifest, sha256_of
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import AerialRecord, Postprocess, Provenance
from tercelet.contract.scenes import synthetic_frame
from tercelet.export import bundle_aerial, export
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.opening import AERIAL_DETECTIONS
from tercelet.training import build, write_checkpoint

INNER = {"density/golden.npy", "density/manifest.json", "density/model.onnx"}
OUTER = {"golden.npy", "model.onnx"}


@pytest.fixture(scope="module")
def density_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A density network with seeded weights that give a lively map, and a canvas of 64x96."""
    folder = tmp_path_factory.mktemp("density") / "lite-checkpoint"
    torch.manual_seed(0)
    network = build("density-lite")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none")
    write_checkpoint(folder, network, labels=("object",), provenance=provenance, canvas=(64, 96))
    return folder


@pytest.fixture(scope="module")
def density_bundle(density_checkpoint: Path) -> Path:
    return export(density_checkpoint, output=density_checkpoint.parent / "lite-bundle")


@pytest.fixture(scope="module")
def aerial_bundle(tiny_bundle: Path, density_bundle: Path) -> Path:
    """The tiny detector and the density network in one folder."""
    return bundle_aerial(tiny_bundle, density_bundle, output=density_bundle.parent / "aerial")


def files_of(folder: Path) -> dict[str, str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {name: sha256_of(folder / name) for name in names if name != "manifest.json"}


def damage(path: Path) -> None:
    """Turn the last byte round."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(bytes(content))


def test_without_a_density_network_the_detector_itself_is_the_evidence(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    output = bundle_aerial(tiny_bundle, output=tmp_path / "a")
    manifest = read_manifest(output)
    assert manifest.pipeline == "density_crops"
    assert manifest.aerial == AerialRecord(density=None, plan="canvas", evidence=("full",))
    assert set(manifest.files) == OUTER
    assert files_of(output) == dict(manifest.files) == dict(read_manifest(tiny_bundle).files)
    with open_pipeline(output, threads=1) as detect:
        report = detect(synthetic_frame(0, height=150, width=260)).report
    assert report is not None
    assert (report.plan.name, report.evidence, report.counted) == ("canvas", ("full",), None)


def test_with_one_every_file_of_both_is_listed_with_its_hash_and_run(
    aerial_bundle: Path, density_bundle: Path
) -> None:
    manifest = read_manifest(aerial_bundle)
    assert manifest.aerial == AerialRecord(density="density", plan="canvas", evidence=("density",))
    assert set(manifest.files) == OUTER | INNER
    assert files_of(aerial_bundle) == dict(manifest.files)
    assert read_manifest(aerial_bundle / "density") == read_manifest(density_bundle)
    with open_pipeline(aerial_bundle, threads=1) as detect:
        report = detect(synthetic_frame(0, height=150, width=260)).report
    assert report is not None
    assert (report.plan.name, report.evidence) == ("canvas", ("density",))
    assert report.counted is not None


def test_the_command_writes_the_record_it_was_told(
    tiny_bundle: Path, density_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a name"
    verb = ["bundle-aerial", str(tiny_bundle), str(density_bundle), "-o", str(output)]
    words = ["--evidence", "full, density", "--canvases", "2", "--object-px", "20"]
    words += ["--enlarging", "0.8", "--iou", "0.55"]
    assert main([*verb, *words]) == 0
    shown = capsys.readouterr()
    assert f"next: tercelet run '{output}' VIDEO" in shown.out
    assert shown.err == f"wrote {output}\n"
    expected = AerialRecord("density", "canvas", ("full", "density"), 2, 20.0, 0.8)
    written = read_manifest(output)
    assert written.aerial == expected
    assert written.postprocess is not None
    assert written.postprocess.iou_threshold == 0.55
    assert main([*verb, *words]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main([*verb, "--overwrite", "--plan", "dmnet", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["output"] == str(output)
    assert (record["manifest"]["aerial"]["plan"], record["manifest"]["aerial"]["canvases"]) == ("dmnet", None)


def test_the_default_name_is_that_of_the_detector(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_aerial(tiny_bundle) == Path("tiny-aerial")
    assert (tmp_path / "tiny-aerial" / "manifest.json").is_file()


def test_a_density_network_inside_is_kept_until_another_is_named(
    aerial_bundle: Path, density_checkpoint: Path, density_bundle: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    kept = bundle_aerial(aerial_bundle, output=tmp_path / "kept", canvases=3, report=said.append)
    assert said == [f"kept the density network that {aerial_bundle} holds", f"wrote {kept}"]
    before, manifest = read_manifest(aerial_bundle), read_manifest(kept)
    assert manifest.files == before.files
    assert manifest.aerial == replace(before.aerial or AerialRecord(), canvases=3)
    other, said = export(density_checkpoint, output=tmp_path / "other", size=(32, 64)), []
    renewed = bundle_aerial(aerial_bundle, other, output=tmp_path / "renewed", report=said.append)
    assert said == [f"replaced the density network that {aerial_bundle} holds", f"wrote {renewed}"]
    assert read_manifest(renewed / "density") == read_manifest(other) != read_manifest(density_bundle)
    assert files_of(renewed) == dict(read_manifest(renewed).files)


@pytest.mark.parametrize(("own", "expected"), [(300, AERIAL_DETECTIONS), (1000, 1000)])
def test_a_detector_that_may_find_more_keeps_that(
    tiny_bundle: Path, tmp_path: Path, own: int, expected: int
) -> None:
    detector = shutil.copytree(tiny_bundle, tmp_path / "detector")
    manifest = read_manifest(detector)
    settings = replace(manifest.postprocess or Postprocess(), max_detections=own, iou_threshold=0.6)
    finish_artefact(detector, replace(manifest, postprocess=settings))
    made = read_manifest(bundle_aerial(detector, output=tmp_path / "a"))
    assert made.postprocess == replace(settings, max_detections=expected)


@pytest.mark.parametrize("name", sorted(OUTER | INNER))
def test_a_file_that_was_damaged_is_neither_opened_nor_bundled_again(
    aerial_bundle: Path, tmp_path: Path, name: str
) -> None:
    copy = shutil.copytree(aerial_bundle, tmp_path / "copy")
    damage(copy / name)
    with pytest.raises(CheckFailedError, match=f"{name}: sha256 .* differs"), open_pipeline(copy):
        pass
    with pytest.raises((CheckFailedError, InputError), match=name):
        bundle_aerial(copy, output=tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_density_network_that_does_not_reproduce_its_golden_pair_leaves_nothing(
    tiny_bundle: Path, density_checkpoint: Path, density_bundle: Path, tmp_path: Path
) -> None:
    foreign = shutil.copytree(density_bundle, tmp_path / "foreign")
    torch.manual_seed(1)
    network, provenance = build("density-lite"), Provenance(source="seeded", sha256="1" * 64, format="none")
    write_checkpoint(tmp_path / "c", network, labels=("object",), provenance=provenance, canvas=(64, 96))
    other = export(tmp_path / "c", output=tmp_path / "other")
    shutil.copyfile(other / "golden.npy", foreign / "golden.npy")
    finish_artefact(foreign, read_manifest(foreign))
    with pytest.raises(CheckFailedError, match="golden pair"):
        bundle_aerial(tiny_bundle, foreign, output=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"evidence": ["density"]}, "density: expected a density bundle for evidence density .* got none"),
        ({"plan": "dmnet"}, "density: expected a density bundle .* name one, or take evidence full"),
        ({"density": "{detector}"}, "tiny-bundle: .*expected a density bundle, got a bundle of yolov5n"),
        ({"density": "{checkpoint}"}, "lite-checkpoint"),
        ({"density": "{density}", "evidence": ["full"]}, "never ask the density network of .*; add density"),
        ({"density": "{density}", "evidence": "previous"}, "got previous and plan canvas"),
        ({"detector": "{aerial}", "evidence": ["full"]}, "aerial/density; add density to the evidence"),
        ({"detector": "{density}"}, "expected a detector's bundle, got a bundle of density-lite"),
        ({"plan": "tiles"}, "plan: expected one of full, grid, dmnet, canvas, got 'tiles'"),
        ({"evidence": []}, "evidence: expected at least one"),
        ({"canvases": -1}, "canvases: expected 0 to 256"),
        ({"output": ""}, "-o: expected the name of a folder"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(
    tiny_bundle: Path,
    density_checkpoint: Path,
    density_bundle: Path,
    aerial_bundle: Path,
    tmp_path: Path,
    options: dict[str, Any],
    match: str,
) -> None:
    places = {
        "{detector}": tiny_bundle,
        "{checkpoint}": density_checkpoint,
        "{density}": density_bundle,
        "{aerial}": aerial_bundle,
    }
    asked = {
        name: places.get(value, value) if isinstance(value, str) else value for name, value in options.items()
    }
    with pytest.raises(InputError, match=match):
        bundle_aerial(**{"detector": tiny_bundle, "output": tmp_path / "a", **asked})
    assert not list(tmp_path.iterdir())


def test_a_density_network_for_plan_dmnet_needs_no_evidence_of_that_name(
    tiny_bundle: Path, density_bundle: Path, tmp_path: Path
) -> None:
    made = bundle_aerial(tiny_bundle, density_bundle, output=tmp_path / "a", plan="dmnet", evidence=["full"])
    assert read_manifest(made).aerial == AerialRecord("density", "dmnet", ("full",))


def test_export_with_density_writes_the_aerial_bundle(
    tiny_checkpoint: Path, density_bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a"
    verb = ["export", str(tiny_checkpoint), "-o", str(output), "--density", str(density_bundle)]
    assert main([*verb, "--batch", "1"]) == 0
    manifest = read_manifest(output)
    assert manifest.pipeline == "density_crops"
    assert manifest.aerial == AerialRecord("density", "canvas", ("density",))
    assert set(manifest.files) == OUTER | INNER
    assert files_of(output) == dict(manifest.files)
    assert manifest.postprocess is not None
    assert manifest.postprocess.max_detections == AERIAL_DETECTIONS
    assert manifest.network is not None
    assert (manifest.network.batch, manifest.network.inputs[0].shape[0]) == ("fixed", 1)
    with open_pipeline(output, threads=1) as detect:
        report = detect(synthetic_frame(0, height=150, width=260)).report
    assert report is not None
    assert report.counted is not None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"density": "anything"}, "density-lite: density: a density network gives no boxes"),
        ({"batch": 1}, "density-lite: batch: a density network gives no boxes"),
    ],
)
def test_a_density_network_is_put_beside_nothing(
    density_checkpoint: Path, tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        export(density_checkpoint, output=tmp_path / "b", **options)
    assert not list(tmp_path.iterdir())


def test_what_is_no_density_bundle_is_refused_before_the_graph_is_made(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="expected a density bundle, got a bundle of yolov5n"):
        export(tiny_checkpoint, output=tmp_path / "b", density=tiny_bundle)
    assert not list(tmp_path.iterdir())
