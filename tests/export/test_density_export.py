"""Export of density networks: the same numbers from the bundle, for whole canvases of bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Provenance
from tercelet.contract.scenes import synthetic_frame
from tercelet.export import export
from tercelet.export.density_exporting import DENSITY_GATE, check_density_parity
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.runtime.command_line import main
from tercelet.training import build, load_checkpoint, write_checkpoint

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mcnn", {}),
    ("mcnn", {"channels": 1, "rectified": True}),
    ("density-lite", {}),
    ("density-lite", {"cell": 4}),
]
SIZE = (48, 80)


def checkpoint_of(folder: Path, name: str, **options: Any) -> Path:
    """A checkpoint with seeded weights that give a lively map."""
    torch.manual_seed(0)
    network = build(name, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none")
    write_checkpoint(folder, network, labels=("object",), provenance=provenance, canvas=SIZE)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("density") / "lite-checkpoint", "density-lite")


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_the_graph_gives_what_torch_gives_for_a_canvas_in_bgr(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    source = checkpoint_of(tmp_path / "c", name, **options)
    bundle = export(source, output=tmp_path / "b")
    network, _ = load_checkpoint(source)
    manifest = read_manifest(bundle)
    assert (manifest.kind, manifest.pipeline) == ("bundle", "density")
    assert manifest.golden is not None
    assert manifest.density is not None
    assert manifest.density.cell == network.cell
    assert manifest.network is not None
    assert manifest.network.candidates == 0
    (density,) = manifest.network.outputs
    assert (density.name, density.dtype) == ("density", "float32")
    assert density.shape == (1, SIZE[0] // network.cell, SIZE[1] // network.cell)
    parity = manifest.density_parity
    assert parity is not None
    assert parity.frames == 3
    assert max(parity.cells_max, parity.counts_max) <= parity.gate == DENSITY_GATE
    canvas = synthetic_frame(7, height=SIZE[0], width=SIZE[1])
    with torch.inference_mode():
        expected = network(torch.from_numpy(canvas[..., ::-1].transpose(2, 0, 1)[None].copy()).float())[:, 0]
    runner = open_runner((bundle / "model.onnx").read_bytes())
    found = runner.run({runner.inputs[0]: canvas[None]})["density"]
    assert found.shape == density.shape
    assert float(expected.max()) > 0
    assert np.abs(found - expected.numpy()).max() <= DENSITY_GATE * float(expected.abs().max())


def test_norms_are_folded_and_an_older_opset_can_be_had(checkpoint: Path, tmp_path: Path) -> None:
    for opset in (17, 20):
        model = onnx.load(export(checkpoint, output=tmp_path / str(opset), opset=opset) / "model.onnx")
        assert model.opset_import[0].version == opset
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_the_command_exports_at_a_size_of_its_own(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "b"
    assert main(["export", str(checkpoint), "-o", str(output), "--size", "32x64"]) == 0
    shown = capsys.readouterr().out
    assert "density-lite 32x64, objects a cell of 8 px" in shown
    assert "--density" in shown
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "j"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["density"] == {"cell": 8}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"candidates": 10}, "density-lite: candidates: a density network gives no boxes"),
        ({"op_form": "row_gather"}, "density-lite: op_form: a density network"),
        ({"inline_ops": True}, "density-lite: inline_ops: a density network"),
        ({"gate_px": 1.0}, "density-lite: gate_px: a density network"),
        ({"size": (40, 64)}, "multiples of 16, got 40x64"),
        ({"opset": 16}, "opset: expected one of 17, 18, 19, 20, got 16"),
    ],
)
def test_what_a_density_network_cannot_do_is_refused(
    options: dict[str, Any], match: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        export(checkpoint, output=tmp_path / "b", **options)
    assert not list(tmp_path.iterdir())


def test_a_graph_of_other_weights_fails_the_check(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, output=tmp_path / "b")
    network, _ = load_checkpoint(checkpoint)
    with torch.no_grad():
        network.get_parameter("last.weight").mul_(1.01)
    preprocess = read_manifest(bundle).preprocess
    canvases = [synthetic_frame(0, height=SIZE[0], width=SIZE[1])[None]]
    with pytest.raises(
        CheckFailedError, match="the graph differs from torch: cells by .* expected at most 0.0001"
    ):
        check_density_parity(network, bundle / "model.onnx", canvases, preprocess=preprocess)
