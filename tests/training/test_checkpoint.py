"""Checkpoints: written whole and checked, or not at all; read back as the detector that went in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import DEFAULT_CANDIDATES, Provenance
from tercelet.contract.session import SessionOptions
from tercelet.training import build, load_checkpoint, round_checkpoint, write_checkpoint
from tercelet.training.torch_session import TorchSession, candidate_count, open_session

LABELS = ("car", "person")
PROVENANCE = Provenance(source="x.pt", sha256="0" * 64, format="torch zip", image_size=90)


@pytest.fixture(scope="module")
def detector() -> Any:
    torch.manual_seed(0)
    made = build("yolov5n", classes=2).eval()
    with torch.no_grad():  # a fresh head tells candidates hardly apart
        for parameter in made.head.parameters():
            parameter.mul_(1e5 if parameter.ndim > 1 else 0)
    return made


@pytest.fixture(scope="module")
def checkpoint(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "checkpoint"
    write_checkpoint(folder, detector, labels=LABELS, provenance=PROVENANCE)
    return folder


def state_of(detector: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in detector.state_dict().items()}


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "yolo11n-multiseam"])
def test_a_detector_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    made = build(name, classes=2).eval()
    written = write_checkpoint(
        tmp_path / "c", made, labels=LABELS, provenance=PROVENANCE, source=state_of(made)
    )
    back, manifest = load_checkpoint(tmp_path / "c")
    assert not back.training
    assert (back.detector, back.classes, back.options) == (name, 2, made.options)
    before, after = made.state_dict(), back.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert manifest.labels == written.labels == LABELS
    assert manifest.postprocess is not None
    assert manifest.postprocess.iou_threshold == made.suppression_iou
    assert manifest.provenance.parameters == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize(("image_size", "side"), [(None, 640), (90, 96), (96, 96), (1, 32)])
def test_the_canvas_is_the_image_size_made_fit_for_the_detector(
    image_size: int | None, side: int, detector: Any, tmp_path: Path
) -> None:
    provenance = Provenance(source="x", sha256="0", format="f", image_size=image_size)
    manifest = write_checkpoint(tmp_path / "c", detector, labels=LABELS, provenance=provenance)
    assert (manifest.preprocess.height, manifest.preprocess.width) == (side, side)
    assert manifest.provenance.image_size == image_size


def test_a_detector_in_training_mode_is_left_in_it(tmp_path: Path) -> None:
    made = build("yolov5n", classes=2).train()
    write_checkpoint(tmp_path / "c", made, labels=LABELS, provenance=PROVENANCE)
    assert made.training


@pytest.mark.parametrize("labels", [(), ("car",), ("car", "person", "dog")])
def test_labels_that_are_not_one_for_each_class_are_refused(
    labels: tuple[str, ...], detector: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"expected 2 labels, one for each class, got {len(labels)}"):
        write_checkpoint(tmp_path / "c", detector, labels=labels, provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_give_no_finite_numbers_fail_the_check_and_leave_nothing(
    value: float, tmp_path: Path
) -> None:
    broken = build("yolov5n", classes=2).eval()
    with torch.no_grad():
        next(broken.parameters()).fill_(value)
    with pytest.raises(CheckFailedError, match="gives nan or infinity"):
        write_checkpoint(tmp_path / "c", broken, labels=LABELS, provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


def test_a_source_that_differs_in_one_bit_fails_the_check_and_leaves_nothing(
    detector: Any, tmp_path: Path
) -> None:
    source = state_of(detector)
    source["model.0.conv.weight"].view(np.uint32)[0, 0, 0, 0] ^= 1
    with pytest.raises(CheckFailedError, match=r"model\.0\.conv\.weight: .* differs from the source's state"):
        write_checkpoint(tmp_path / "c", detector, labels=LABELS, provenance=PROVENANCE, source=source)
    assert not list(tmp_path.iterdir())


def test_a_source_that_lacks_a_tensor_fails_the_check(detector: Any, tmp_path: Path) -> None:
    source = state_of(detector)
    del source["model.0.conv.weight"]
    with pytest.raises(CheckFailedError, match=r"model\.0\.conv\.weight: is in the checkpoint but not in"):
        write_checkpoint(tmp_path / "c", detector, labels=LABELS, provenance=PROVENANCE, source=source)


@pytest.mark.parametrize("name", ["yolov5n", "yolo11n-seam", "density-lite", "mcnn"])
def test_stored_in_half_the_network_holds_what_the_file_holds_at_half_the_size(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    made = build(name).eval()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    labels = ("object",) if name in ("density-lite", "mcnn") else tuple(map(str, range(made.classes)))
    for stored in ("fp32", "fp16"):
        manifest = write_checkpoint(
            tmp_path / stored, made, labels=labels, provenance=PROVENANCE, stored=stored
        )
    assert manifest.stored == read_manifest(tmp_path / "fp16").stored == "fp16"
    assert read_manifest(tmp_path / "fp32").stored is None
    sizes = [(tmp_path / stored / "weights.safetensors").stat().st_size for stored in ("fp16", "fp32")]
    assert sizes[0] < 0.56 * sizes[1]
    after, back = made.state_dict(), load_checkpoint(tmp_path / "fp16")[0].state_dict()
    large = {key for key, value in made.named_parameters() if value.ndim >= 2}
    for key, value in before.items():
        wanted = value.half().float() if key in large else value
        assert torch.equal(after[key], wanted), key
        assert torch.equal(back[key], wanted), key
        assert back[key].dtype == value.dtype


def test_rounding_a_checkpoint_keeps_all_but_the_last_bits(checkpoint: Path, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    network, manifest = load_checkpoint(checkpoint)
    write_checkpoint(
        noted,
        network,
        labels=manifest.labels,
        provenance=manifest.provenance,
        canvas=(96, 128),
        notes={"CARD.md": "# Card\n", "curve.png": b"\x89PNG"},
    )
    made = round_checkpoint(noted, tmp_path / "half")
    assert (made.labels, made.preprocess, made.provenance) == (
        manifest.labels,
        read_manifest(noted).preprocess,
        read_manifest(noted).provenance,
    )
    assert (tmp_path / "half" / "CARD.md").read_text() == "# Card\n"
    assert (tmp_path / "half" / "curve.png").read_bytes() == b"\x89PNG"
    again = round_checkpoint(tmp_path / "half", tmp_path / "again")
    assert again.files == made.files


def test_a_weight_beyond_half_precision_fails_the_check_and_changes_nothing(tmp_path: Path) -> None:
    made = build("yolov5n", classes=2).eval()
    with torch.no_grad():
        made.get_parameter("model.0.conv.weight")[0, 0, 0, 0] = 1e6
    before = state_of(made)
    with pytest.raises(CheckFailedError, match=r"model\.0\.conv\.weight: .* up to 65504, .* got 1e\+06"):
        write_checkpoint(tmp_path / "c", made, labels=LABELS, provenance=PROVENANCE, stored="fp16")
    assert not list(tmp_path.iterdir())
    assert all(np.array_equal(value, before[name]) for name, value in state_of(made).items())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"stored": "int8"}, "stored: expected one of fp32, fp16, got 'int8'"),
        ({"stored": "fp16", "source": {}}, "stored: expected fp32 together with a source"),
    ],
)
def test_storage_that_cannot_be_had_is_refused(
    options: dict[str, Any], match: str, detector: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        write_checkpoint(tmp_path / "c", detector, labels=LABELS, provenance=PROVENANCE, **options)
    assert not list(tmp_path.iterdir())


def test_a_changed_weight_file_is_refused_when_loaded(checkpoint: Path, tmp_path: Path) -> None:
    copy = _copied(checkpoint, tmp_path)
    path = copy / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckFailedError, match="sha256 .* differs"):
        load_checkpoint(copy)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("kind", "bundle", "expected a checkpoint, got a bundle"),
        ("labels", ["car"], "labels: expected 2, one for each class, got 1"),
        ("detector", {"name": "yolov9", "options": {}}, "unknown detector 'yolov9'"),
        ("detector", {"name": "yolov5s", "options": {}}, "the weights do not fit"),
        (
            "detector",
            {"name": "yolov5n", "options": {"classes": 3}},
            "labels: expected 3, one for each class, got 2",
        ),
        ("detector", {"name": "yolov5n", "options": {"depth": 3}}, "expected options among"),
    ],
)
def test_a_manifest_that_does_not_fit_its_weights_is_refused(
    field: str, value: Any, match: str, checkpoint: Path, tmp_path: Path
) -> None:
    copy = _copied(checkpoint, tmp_path)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest[field] = value
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=match):
        load_checkpoint(copy)


def _copied(checkpoint: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in checkpoint.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def opened(checkpoint: Path) -> TorchSession:
    return open_session(checkpoint, read_manifest(checkpoint), SessionOptions(threads=1))


def test_a_session_gives_the_best_candidates_of_a_bgr_canvas(checkpoint: Path, detector: Any) -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    session = opened(checkpoint)
    found = session.run(canvas)
    session.close()
    rgb = torch.from_numpy(canvas[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        full = detector(rgb)
    scores, _ = full.scores.flatten(1).sort(descending=True)
    count = candidate_count(detector, 96, 96)
    assert count == 2 * 3 * (12 * 12 + 6 * 6 + 3 * 3)
    assert found.boxes.shape == (1, count, 4)
    assert (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    np.testing.assert_allclose(found.scores[0], scores[0, :count], atol=1e-5)
    for box, score, class_id in zip(found.boxes[0], found.scores[0], found.class_ids[0], strict=True):
        distance = np.abs(full.boxes[0].numpy() - box).max(1)
        assert distance.min() < 1e-3
        same = full.scores[0, distance < 1e-2, class_id]
        assert np.abs(same.numpy() - score).min() < 1e-5
    with torch.inference_mode():
        swapped = detector(rgb.flip(1)).scores.flatten().sort(descending=True).values
    assert np.abs(found.scores[0] - swapped.numpy()[:count]).max() > 1e-3
    assert session.backend == f"torch {torch.__version__}"


def test_a_large_canvas_gives_the_default_number_of_candidates(detector: Any) -> None:
    assert candidate_count(detector, 640, 640) == DEFAULT_CANDIDATES


@pytest.mark.parametrize(
    "canvas",
    [np.zeros((1, 64, 96, 3), np.uint8), np.zeros((2, 96, 96, 3), np.uint8), np.zeros((1, 96, 96, 3))],
)
def test_a_session_refuses_canvases_of_another_shape_or_type(canvas: np.ndarray, checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"expected canvases \(1, 96, 96, 3\) uint8"):
        opened(checkpoint).run(canvas)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device whose absence is tested")
def test_a_session_without_its_device_says_so(checkpoint: Path) -> None:
    with pytest.raises(MissingDependencyError, match="torch finds none here"):
        open_session(checkpoint, read_manifest(checkpoint), SessionOptions(device="cuda"))
