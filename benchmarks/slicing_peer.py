"""sahi as a child process of bench_slicing.py, and the ONNX file that it runs: the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tercelet.contract.detections import Detections
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.export.tracing import onnx_from_module
from tercelet.training import load_checkpoint

WORKER = Path(__file__).with_name("sahi_worker.py")
OPSET = 18
IR_VERSION = 10


class _PeerLayout(nn.Module):
    """RGB images (1, 3, H, W) 0..1 -> (1, 4 + classes, anchors): centre x, y, width, height, then scores."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor]:
        boxes, scores = self.detector(images)
        low, high = boxes[..., :2], boxes[..., 2:]
        return (torch.cat(((low + high) / 2, high - low, scores), -1).transpose(1, 2),)


class _Single(nn.Module):
    """The first output of a module that has one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.module(images)[0]
        return output


def write_peer_model(checkpoint: Path, folder: Path, *, size: int) -> tuple[Path, Path, tuple[str, ...]]:
    """Export a checkpoint in the layout that ultralytics gives its own exports.

    Returns the ONNX file, the TorchScript file (what the weights cost in PyTorch, which is what ultralytics
    runs a .pt file with) and the labels.
    """
    detector, manifest = load_checkpoint(checkpoint)
    fold_batchnorm(detector)
    layout, example = _PeerLayout(detector).eval(), torch.zeros((1, 3, size, size))
    facts: dict[str, Any] = {
        "stride": 32,
        "task": "detect",
        "batch": 1,
        "imgsz": [size, size],
        "names": dict(enumerate(manifest.labels)),
    }
    model = onnx_from_module(layout, example, output_names=("output0",), opset=OPSET)
    model.ir_version = IR_VERSION
    onnx.helper.set_model_props(model, {key: str(value) for key, value in facts.items()})
    onnx.save(model, folder / "peer.onnx")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes are fixed, as they should be
        script = torch.jit.trace(_Single(layout), example)
    torch.jit.save(script, folder / "peer.torchscript", _extra_files={"config.txt": json.dumps(facts)})
    return folder / "peer.onnx", folder / "peer.torchscript", manifest.labels


@dataclass(frozen=True)
class PeerAnswer:
    """One frame through sahi: seconds by the clock and by the processor, images through the network."""

    detections: Detections
    seconds: float
    cpu_seconds: float
    inferences: int
    stages: dict[str, float]


class Peer:
    """A running worker; a context manager. Frames are handed over as files before the worker's clock runs."""

    def __init__(
        self, python: Path, engine: str, model: Path, *, labels: tuple[str, ...], threads: int, score: float
    ) -> None:
        self.engine = engine
        self.labels = labels
        names = model.with_suffix(".labels.json")
        names.write_text(json.dumps(list(labels)), encoding="utf-8")
        command = [str(python), str(WORKER), engine, str(model), "--labels", str(names)]
        command += ["--threads", str(threads), "--score", str(score)]
        # ultralytics would write its settings into the home folder.
        environment = {**os.environ, "YOLO_CONFIG_DIR": str(model.parent), "YOLO_OFFLINE": "true"}
        environment["YOLO_VERBOSE"] = "false"
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.versions: dict[str, str] = self._receive()["versions"]

    def predict(
        self,
        frame: Path,
        *,
        postprocess: tuple[str, str, float] | None = None,
        side: int | None = None,
        overlap: float = 0.2,
    ) -> PeerAnswer:
        """frame: a .npy file (H, W, 3) RGB. side: of the slices, None for the engine alone."""
        request = {"frame": str(frame), "postprocess": postprocess, "slice": side, "overlap": overlap}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        got = self._receive()
        found = Detections(
            boxes=np.array(got["boxes"], np.float32).reshape(-1, 4),
            scores=np.array(got["scores"], np.float32),
            class_ids=np.array(got["class_ids"], np.int64),
            labels=self.labels,
        )
        return PeerAnswer(found, got["seconds"], got["cpu_seconds"], got["inferences"], got["stages"])

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{WORKER.name} ended with status {self._process.wait()}; see its messages above"
            )
        got: dict[str, Any] = json.loads(line)
        return got

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def raw_outputs(model: Path, canvas: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The peer's file by itself on one RGB canvas (H, W, 3) -> boxes (A, 4) xyxy, scores (A, classes)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    images = np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32)[None] / np.float32(255)
    table = session.run(None, {session.get_inputs()[0].name: images})[0][0].T
    centre, half = table[:, :2], table[:, 2:4] / 2
    return np.concatenate((centre - half, centre + half), axis=1), table[:, 4:]
