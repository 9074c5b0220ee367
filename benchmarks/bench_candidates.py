"""How many candidates the graph has to give: AP by K on crowded frames, against all candidates.

    python benchmarks/bench_candidates.py CHECKPOINT VISDRONE_FOLDER --size 640 1280

COCO weights are judged on VisDrone's classes. K is in the manifest (DEFAULT_CANDIDATES); it has to be large
enough that AP is that of all candidates, and is best no larger than the 3840 that TensorRT can choose from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from tercelet.contract.detections import Detections
from tercelet.contract.manifest import DEFAULT_CANDIDATES
from tercelet.contract.preprocess import Preprocess, fill_canvas
from tercelet.evaluation.datasets import open_dataset
from tercelet.evaluation.judging import evaluate_detections
from tercelet.runtime.nms import non_maximum_suppression
from tercelet.runtime.vision import read_image, resize_bilinear_into
from tercelet.training.checkpoint import load_checkpoint

COUNTS = (300, 1000, 2000, 3000, DEFAULT_CANDIDATES, 8000, 30000)
CLASS_MAP = {
    "person": ["pedestrian", "people"],
    "bicycle": "bicycle",
    "car": ["car", "van"],
    "truck": "truck",
    "bus": "bus",
    "motorcycle": "motor",
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--size", type=int, nargs="+", default=[640])
    arguments = parser.parse_args()
    detector, manifest = load_checkpoint(arguments.checkpoint)
    dataset = open_dataset(arguments.dataset)
    for size in arguments.size:
        preprocess = Preprocess(size, size, color="RGB")
        found: dict[int, list[Detections]] = {count: [] for count in COUNTS}
        for image in dataset.images:
            canvas = np.empty((size, size, 3), np.uint8)
            place = fill_canvas(canvas, read_image(image.path), preprocess, resize_into=resize_bilinear_into)
            pixels = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))[None].float() / 255
            with torch.no_grad():
                boxes, scores, ids = (part[0].numpy() for part in detector.top_candidates(pixels, COUNTS[-1]))
            boxes = place.to_frame(boxes)
            for count in COUNTS:
                kept = non_maximum_suppression(
                    boxes[:count],
                    scores[:count],
                    ids[:count],
                    score_threshold=0.001,
                    iou_threshold=0.7,
                    max_detections=count,
                )
                found[count].append(Detections(boxes[kept], scores[kept], ids[kept], manifest.labels))
        print(f"{len(dataset.images)} frames at {size}x{size}")
        for count in COUNTS:
            precision = evaluate_detections(dataset, found[count], class_map=CLASS_MAP).precision
            assert precision.ap is not None
            assert precision.ap50 is not None
            print(f"  K {count:>6}  AP {100 * precision.ap:6.3f}  AP50 {100 * precision.ap50:6.3f}")


if __name__ == "__main__":
    main()
