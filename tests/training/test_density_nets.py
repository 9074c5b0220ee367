"""Density networks: MCNN as upstream has it, the light one, and their way through files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from reference_cases import keys_of, load_case, tolerance_of

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Provenance
from tercelet.contract.session import SessionOptions
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image
from tercelet.training import (
    build,
    detector_names,
    import_weights,
    load_checkpoint,
    load_upstream,
    read_weights,
    write_checkpoint,
)
from tercelet.training.detectors.mcnn.network import grey_from_rgb
from tercelet.training.torch_session import open_session

PROVENANCE = Provenance(source="seeded", sha256="0" * 64, format="none")
# Counts are stated with one decimal; another decoder of JPEG moves them by a few thousandths.
SAME_COUNT = 0.01
REAL_COUNTS = {"0000031_00000_d_0000037": 53.3, "0000022_00500_d_0000005": 14.0}


def pictures(height: int, width: int, count: int = 1) -> torch.Tensor:
    """Noise, 0 to 255, whole numbers."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, height, width))).float()


def pictures_of(case: dict[str, Any], inputs: dict[str, Any], name: str) -> torch.Tensor:
    """An input of a case, stored in 0..1, at the scale that the case asks for."""
    return torch.from_numpy(np.asarray(inputs[name] * case["inputs"][name]["mul"], np.float32))


def numpy_state(network: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def test_the_table_tells_density_networks_from_detectors() -> None:
    assert detector_names("density") == ("mcnn", "density-lite")
    with pytest.raises(InputError, match="unknown detector 'mcn': did you mean mcnn"):
        build("mcn")


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("mcnn", {}, 133_705),
        ("mcnn", {"channels": 1}, 127_953),
        ("density-lite", {}, 86_065),
        ("density-lite", {"cell": 4, "widths": (16, 32, 64, 64)}, 196_593),
    ],
)
def test_their_options_rebuild_them(name: str, options: dict[str, Any], parameters: int) -> None:
    made = build(name, **options)
    assert sum(p.numel() for p in made.parameters()) == parameters
    again = build(name, **made.options)
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in made.state_dict().values()]
    found = type(made).options_from_state(made.state_dict())
    assert json.loads(json.dumps(found)).items() <= made.options.items()
    assert json.loads(json.dumps(made.options)) == made.options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("mcnn", {"channels": 2}, r"channels: expected 3 \(colour\) or 1 \(grey\), got 2"),
        ("mcnn", {"rectified": 1}, "rectified: expected true or false, got 1"),
        ("mcnn", {"classes": 3}, "expected options among channels, rectified, got 'classes'"),
        ("density-lite", {"cell": 2}, "cell: expected 4 or 8, got 2"),
        ("density-lite", {"widths": (16, 16, 32)}, "widths: expected four whole numbers"),
        ("density-lite", {"widths": (16, 16, 32, 0)}, "widths: expected four whole numbers"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(name, **options)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (61, 83), (64, 96), (18, 47), (97, 33)])
@pytest.mark.parametrize(
    ("name", "options"), [("mcnn", {}), ("density-lite", {}), ("density-lite", {"cell": 4})]
)
def test_a_map_has_a_number_for_every_whole_cell_of_any_size(
    name: str, options: dict[str, Any], height: int, width: int
) -> None:
    network = build(name, **options).eval()
    with torch.inference_mode():
        found = network(pictures(height, width, count=2))
    assert found.shape == (2, 1, height // network.cell, width // network.cell)


def test_what_is_no_picture_of_the_right_size_is_refused() -> None:
    for name, least in (("mcnn", 4), ("density-lite", 16)):
        network = build(name)
        with pytest.raises(InputError, match=f"{name}: expected at least {least} pixels per side, got 3x99"):
            network(pictures(3, 99))
        with pytest.raises(InputError, match=r"expected images \(B, 3, H, W\) of floats in 0\.\.255"):
            network(torch.zeros(1, 1, 64, 64))
        with pytest.raises(InputError, match=f"multiples of {least}, got 64x99 .* use 64x1"):
            network.check_size(64, 99)
        network.check_size(*network.default_canvas)


@pytest.mark.parametrize("seed", range(3))
def test_the_light_network_is_never_negative(seed: int) -> None:
    torch.manual_seed(seed)
    network = build("density-lite").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 2)
        found = network(pictures(64, 96))
    assert float(found.min()) >= 0
    assert bool(found.isfinite().all())


def test_mcnn_is_that_of_the_fixture_at_whole_and_odd_sizes(shared: Path) -> None:
    case, weights, inputs, outputs = load_case(shared, "dmn_mcnn")
    network = load_upstream("mcnn", weights)
    assert network.options == {"channels": 3, "rectified": False}
    assert list(network.state_dict()) == list(keys_of(shared, "dmn_mcnn"))
    assert not network.training
    for index in ("0", "1"):
        images = pictures_of(case, inputs, f"x{index}")
        with torch.inference_mode():
            found = network(images).numpy()
        expected = outputs[f"y{index}"]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= tolerance_of(case, f"y{index}", expected)
    images = pictures_of(case, inputs, "x0")
    for branch in ("branch1", "branch2", "branch3"):
        expected = outputs[f"{branch}_0"]
        with torch.inference_mode():
            found = getattr(network, branch)(images).numpy()
        assert np.abs(found - expected).max() <= tolerance_of(case, f"{branch}_0", expected)


def test_the_real_file_counts_what_its_readme_says(shared: Path) -> None:
    upstream = read_weights(shared / "data" / "weights" / "mcnn_shanghaitechA_660.h5")
    network = load_upstream("mcnn", upstream.state)
    assert network.options == {"channels": 1, "rectified": True}
    for name, count in REAL_COUNTS.items():
        frame = read_image(shared / "data" / "visdrone" / "images" / f"{name}.jpg")
        images = torch.from_numpy(frame[..., ::-1].transpose(2, 0, 1)[None].copy()).float()
        with torch.inference_mode():
            found = float(network(images).sum())
        assert found == pytest.approx(count, rel=SAME_COUNT)


def test_grey_is_the_grey_of_opencv() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (97, 61, 3), dtype=np.uint8)
    images = torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()).float()
    assert np.array_equal(grey_from_rgb(images)[0, 0].numpy(), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def test_weights_of_another_network_are_refused_with_advice() -> None:
    lite, mcnn = numpy_state(build("density-lite")), numpy_state(build("mcnn", channels=1))
    with pytest.raises(InputError, match="mcnn: the weights do not fit: .* they fit density-lite"):
        load_upstream("mcnn", lite)
    with pytest.raises(InputError, match="yolov5n: the weights do not fit: .* they fit mcnn"):
        load_upstream("yolov5n", mcnn)
    with pytest.raises(InputError, match="channels=3 was asked for, but the weights have channels=1"):
        load_upstream("mcnn", mcnn, channels=3)
    with pytest.raises(InputError, match="channels: expected 3 .* got 5"):
        load_upstream("mcnn", {**mcnn, "branch1.0.weight": np.zeros((16, 5, 9, 9), np.float32)})


@pytest.mark.parametrize(("name", "canvas"), [("mcnn", (272, 480)), ("density-lite", (384, 672))])
def test_a_density_network_comes_back_bit_for_bit(name: str, canvas: tuple[int, int], tmp_path: Path) -> None:
    made = build(name).eval()
    written = write_checkpoint(
        tmp_path / "c", made, labels=("object",), provenance=PROVENANCE, source=numpy_state(made)
    )
    back, manifest = load_checkpoint(tmp_path / "c")
    assert (back.detector, back.options, back.training) == (name, made.options, False)
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in made.state_dict().items())
    assert (written.preprocess.height, written.preprocess.width) == canvas
    assert manifest.density is not None
    assert (manifest.density.cell, manifest.postprocess) == (made.cell, None)


def test_a_checkpoint_takes_the_canvas_and_the_notes_it_is_given(tmp_path: Path) -> None:
    made = build("density-lite")
    given: dict[str, Any] = {"labels": ("object",), "provenance": PROVENANCE}
    manifest = write_checkpoint(tmp_path / "c", made, canvas=(192, 336), notes={"n.csv": "a\n"}, **given)
    assert (manifest.preprocess.height, manifest.preprocess.width) == (192, 336)
    assert (tmp_path / "c" / "n.csv").read_text() == "a\n"
    assert "n.csv" in manifest.files
    with pytest.raises(InputError, match="multiples of 16, got 190x336"):
        write_checkpoint(tmp_path / "d", made, canvas=(190, 336), **given)
    with pytest.raises(InputError, match="expected 1 labels"):
        write_checkpoint(tmp_path / "d", made, labels=("a", "b"), provenance=PROVENANCE)
    assert not (tmp_path / "d").exists()


def test_the_real_file_is_imported_by_the_command(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(shared / "data" / "weights" / "mcnn_shanghaitechA_660.h5")
    output = tmp_path / "mcnn"
    assert main(["import", weights, "--detector", "mcnn", "-o", str(output), "--licence", "MIT"]) == 0
    shown = capsys.readouterr()
    assert "density     objects a cell of 4 px" in shown.out
    assert "not stated in the file, 272x480 px" in shown.out
    assert "class" not in shown.err
    manifest = read_manifest(output)
    assert manifest.labels == ("object",)
    assert manifest.detector.options == {"channels": 1, "rectified": True}
    assert manifest.provenance.format == "hdf5"
    network, _ = load_checkpoint(output)
    assert network.options == manifest.detector.options


def test_classes_and_labels_of_what_only_counts_are_refused(tmp_path: Path) -> None:
    for given in ({"classes": 1}, {"labels": ("a",)}):
        with pytest.raises(InputError, match=f"mcnn: has no classes, .* leave {next(iter(given))} out"):
            import_weights(tmp_path / "w.h5", detector="mcnn", **given)  # type: ignore[arg-type]


def test_a_density_checkpoint_is_not_run_as_a_detector(tmp_path: Path) -> None:
    manifest = write_checkpoint(tmp_path / "c", build("mcnn"), labels=("object",), provenance=PROVENANCE)
    with pytest.raises(InputError, match="got mcnn, which gives no boxes but a density"):
        open_session(tmp_path / "c", manifest, SessionOptions())
