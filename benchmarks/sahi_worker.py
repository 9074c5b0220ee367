"""The process in which sahi runs for bench_slicing.py, in an environment without tercelet.

    python benchmarks/sahi_worker.py ENGINE MODEL --threads 1 --score 0.25 --labels LABELS.json

ENGINE: "ultralytics" (current sahi), or "yolov8onnx" (sahi up to 0.11.18, which runs ONNX files by itself).
Requests come as JSON, one a line, on stdin: {"frame": FILE.npy (RGB), "postprocess": [type, metric,
threshold], "slice": 640, "overlap": 0.2}, or {"frame": FILE.npy, "slice": null} for the engine on the frame
alone. Answers go to stdout: {"seconds", "cpu_seconds", "inferences", "boxes", "scores", "class_ids"}. The
clock runs from the array in memory to sahi's list of predictions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

# Images that have gone through the network.
INFERENCES = [0]


def limit_threads(count: int) -> None:
    """So many threads in every pool, none of which spins; and every image through a session is counted."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import cv2
    import onnxruntime
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count if count > 1 else 0)
    plain = onnxruntime.InferenceSession

    class LimitedSession(plain):
        """A session with that many threads, whoever opens it."""

        def __init__(self, path: Any, sess_options: Any = None, **options: Any) -> None:
            settings = sess_options or onnxruntime.SessionOptions()
            settings.intra_op_num_threads = count
            settings.inter_op_num_threads = 1
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options["providers"] = ["CPUExecutionProvider"]
            super().__init__(path, settings, **options)

        def run(self, names: Any, feeds: Any, *rest: Any) -> Any:
            """As in the plain one."""
            INFERENCES[0] += len(next(iter(feeds.values())))
            return super().run(names, feeds, *rest)

        def run_with_iobinding(self, binding: Any, *rest: Any) -> None:
            """As in the plain one; the file takes one image at once."""
            INFERENCES[0] += 1
            super().run_with_iobinding(binding, *rest)

    onnxruntime.InferenceSession = LimitedSession
    load = torch.jit.load

    class CountedModule(torch.nn.Module):
        """A TorchScript module whose images are counted."""

        def __init__(self, script: Any) -> None:
            super().__init__()
            self.script = script

        def forward(self, images: Any) -> Any:
            INFERENCES[0] += len(images)
            return self.script(images)

    torch.jit.load = lambda *given, **options: CountedModule(load(*given, **options))


def provide_nms() -> None:
    """torchvision's nms from OpenCV where torchvision is missing or does not fit torch.

    Nothing else of it is used, and its wheels in the package index need CUDA.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        import importlib.machinery
        import types

        import cv2
        import torch

        def nms(boxes: Any, scores: Any, threshold: float) -> Any:
            corners = boxes.double().numpy()
            sized = corners.copy()
            sized[:, 2:] -= corners[:, :2]
            return torch.tensor(cv2.dnn.NMSBoxes(sized, scores.double().numpy(), 0.0, threshold)).long()

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        stand_in, operators = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        stand_in.__version__, stand_in.ops, operators.nms = "0.0", operators, nms  # type: ignore[attr-defined]
        for part in (stand_in, operators):
            part.__spec__ = importlib.machinery.ModuleSpec(part.__name__, None)
        sys.modules |= {"torchvision": stand_in, "torchvision.ops": operators}


def open_model(engine: str, path: str, *, score: float, labels: list[str]) -> Any:
    """sahi's model of the ONNX file; every option but these is sahi's own default."""
    from sahi import AutoDetectionModel

    return AutoDetectionModel.from_pretrained(
        model_type=engine,
        model_path=path,
        confidence_threshold=score,
        category_mapping={str(index): label for index, label in enumerate(labels)},
        device="cpu",
    )


def predict(model: Any, request: dict[str, Any], frame: Any) -> Any:
    """sahi's answer to one request."""
    from sahi.predict import get_prediction, get_sliced_prediction

    side = request["slice"]
    if side is None:
        return get_prediction(frame, model)
    kind, metric, threshold = request["postprocess"]
    return get_sliced_prediction(
        frame,
        model,
        slice_height=side,
        slice_width=side,
        overlap_height_ratio=request["overlap"],
        overlap_width_ratio=request["overlap"],
        perform_standard_pred=True,
        postprocess_type=kind,
        postprocess_match_metric=metric,
        postprocess_match_threshold=threshold,
        verbose=0,
    )


def answer(result: Any, seconds: float, cpu_seconds: float, inferences: int) -> dict[str, Any]:
    """What goes back for one request."""
    found = result.object_prediction_list
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "inferences": inferences,
        "stages": {key: float(value) for key, value in (result.durations_in_seconds or {}).items()},
        "boxes": [[float(v) for v in item.bbox.to_xyxy()] for item in found],
        "scores": [float(item.score.value) for item in found],
        "class_ids": [int(item.category.id) for item in found],
    }


def main() -> int:
    """Answer requests until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("engine", choices=("ultralytics", "yolov8onnx"))
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--score", type=float, default=0.25)
    parser.add_argument("--labels", required=True)
    options = parser.parse_args()
    # Libraries print to stdout as they like; the answers keep the real one for themselves.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit_threads(options.threads)
    provide_nms()
    import numpy as np
    import onnxruntime
    import sahi

    with open(options.labels, encoding="utf-8") as file:
        labels = json.load(file)
    model = open_model(options.engine, options.model, score=options.score, labels=labels)
    versions = {"sahi": sahi.__version__, "onnxruntime": onnxruntime.__version__}
    if options.engine == "ultralytics":
        import ultralytics

        versions["ultralytics"] = ultralytics.__version__
    print(json.dumps({"versions": versions}), file=channel, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        frame = np.load(request["frame"])
        INFERENCES[0] = 0
        start, cpu = time.perf_counter(), time.process_time()
        result = predict(model, request, frame)
        spent = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps(answer(result, *spent, INFERENCES[0])), file=channel, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
