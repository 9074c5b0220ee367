"""Against sahi: the same weights, frames and thresholds, frame by frame in turn, from the array to the boxes.

    python benchmarks/bench_slicing.py BUNDLE CHECKPOINT VISDRONE_FOLDER --peer-python VENV/bin/python
        [--peer-engine ultralytics|yolov8onnx|torch] [--canvases auto 2 4] [--rounds 5] [--threads 1]
        [--json FILE]

sahi is no dependency: it runs in an environment of its own, in a child process that the frames go to one by
one (pip install sahi ultralytics onnxruntime numba, or sahi==0.11.18 for yolov8onnx). Its slices are 640 px
with an overlap of 0.2, the full frame is predicted too, and both of its usual ways to merge are run. BUNDLE
is CHECKPOINT exported with --batch; the child gets the same weights in the layout that it knows. Both sides
use the same number of threads, none of which spins. Recall and precision are VisDrone's ground truth at IoU
0.5 and the given score, COCO classes mapped; ratios are taken frame by frame within a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from slicing_frames import ALL_FRAMES, SIZE_NAMES, BenchFrame, bench_frames
from slicing_peer import Peer, raw_outputs, write_peer_model

from tercelet.contract.detections import Detections
from tercelet.evaluation import match_detections
from tercelet.evaluation.datasets import Dataset
from tercelet.evaluation.judging import Judge
from tercelet.evaluation.recall import found_objects
from tercelet.runtime import open_pipeline, vision
from tercelet.runtime.opening import open_single
from tercelet.runtime.pipelines.pipeline import Pipeline

CLASS_MAP = {
    "person": ["pedestrian", "people"],
    "bicycle": "bicycle",
    "car": ["car", "van"],
    "truck": "truck",
    "bus": "bus",
    "motorcycle": "motor",
}
# The first is sahi's default and what the ratios are taken against.
MERGES = {"sahi": ("GREEDYNMM", "IOS", 0.5), "sahi nms": ("NMS", "IOU", 0.5)}
SIDE, OVERLAP = 640, 0.2
# ultralytics with ONNX Runtime, sahi's own engine with ONNX Runtime, ultralytics with PyTorch.
PEER_ENGINES = ("ultralytics", "yolov8onnx", "torch")
# What ultralytics and sahi's own engine for ONNX files suppress with inside one image.
PEER_IOU = 0.7
# Of a frame on either side: more than there ever are.
NO_LIMIT = 5000
COMPARED = 100


class Sample(NamedTuple):
    """One frame through one contestant."""

    found: Detections
    seconds: float
    cpu_seconds: float
    inferences: int


Contestant = Callable[[BenchFrame, Path], Sample]


def ours(pipeline: Pipeline) -> Contestant:
    """A pipeline as a contestant."""

    def run(frame: BenchFrame, _: Path) -> Sample:
        start, cpu = time.perf_counter(), time.process_time()
        found = pipeline(frame.pixels)
        spent = time.perf_counter() - start, time.process_time() - cpu
        return Sample(found, *spent, 1 if found.report is None else found.report.inferences)

    return run


def theirs(peer: Peer, merge: tuple[str, str, float]) -> Contestant:
    """sahi as a contestant."""

    def run(_: BenchFrame, file: Path) -> Sample:
        answer = peer.predict(file, postprocess=merge, side=SIDE, overlap=OVERLAP)
        return Sample(answer.detections, answer.seconds, answer.cpu_seconds, answer.inferences)

    return run


def same_weights(bundle: Path, model: Path, peer: Peer, frame: BenchFrame, folder: Path) -> dict[str, float]:
    """One 640 px canvas through both networks, and through both engines with all that surrounds them.

    network: the COMPARED best candidates of our graph against those of the file that sahi runs. engine: what
    our pipeline and sahi's engine find on the canvas above score 0.25, paired at IoU 0.5. There a pair can
    differ because one keeps every class of a place above the score and the other one class, and because some
    engines give whole pixels.
    """
    top, left = (frame.pixels.shape[0] - SIDE) // 2, (frame.pixels.shape[1] - SIDE) // 2
    canvas = np.ascontiguousarray(frame.pixels[top : top + SIDE, left : left + SIDE])
    file = folder / "canvas.npy"
    np.save(file, np.ascontiguousarray(canvas[..., ::-1]))
    with open_single(bundle, threads=1, score_threshold=0.25, iou_threshold=PEER_IOU) as single:
        in_order = canvas if single.manifest.preprocess.color == "BGR" else canvas[..., ::-1]
        own = single.session.run(np.ascontiguousarray(in_order)[None])
        found = single(canvas)
    boxes, scores = raw_outputs(model, canvas[..., ::-1])
    best = np.argsort(-scores, axis=None, kind="stable")[:COMPARED]
    answer = peer.predict(file)
    pairs = match_detections(found, answer.detections, 0.5).pairs
    apart = found.boxes[pairs[:, 0]] - answer.detections.boxes[pairs[:, 1]]
    scored = found.scores[pairs[:, 0]] - answer.detections.scores[pairs[:, 1]]
    return {
        "network_px": float(np.abs(own.boxes[0, :COMPARED] - boxes[best // scores.shape[1]]).max()),
        "network_score": float(np.abs(own.scores[0, :COMPARED] - scores.ravel()[best]).max()),
        "engine_ours": len(found),
        "engine_theirs": len(answer.detections),
        "engine_pairs": len(pairs),
        "engine_px": float(np.median(np.abs(apart).max(axis=1))) if len(pairs) else 0.0,
        "engine_score": float(np.median(np.abs(scored))) if len(pairs) else 0.0,
        "engine_most_px": float(np.abs(apart).max(initial=0)),
        "engine_most_score": float(np.abs(scored).max(initial=0)),
    }


def measure(
    contestants: dict[str, Contestant], frames: Sequence[BenchFrame], *, rounds: int, folder: Path
) -> dict[str, list[list[Sample]]]:
    """Samples by contestant, round and frame; another contestant is the first on every frame."""
    files = []
    for number, frame in enumerate(frames):
        files.append(folder / f"frame{number}.npy")
        np.save(files[-1], np.ascontiguousarray(frame.pixels[..., ::-1]))
    for contestant in contestants.values():  # a frame of this size through each, unmeasured
        contestant(frames[0], files[0])
    samples: dict[str, list[list[Sample]]] = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(rounds):
        for row in samples.values():
            row.append([])
        for frame, file in zip(frames, files, strict=True):
            for name in order:
                samples[name][-1].append(contestants[name](frame, file))
            order = [*order[1:], order[0]]
    return samples


def quality(
    dataset: Dataset,
    frames: Sequence[BenchFrame],
    found: Sequence[Detections],
    class_map: dict[str, Any],
) -> dict[str, Any]:
    """Recall by size, and precision, of all frames together."""
    images = tuple(frame.truth for frame in frames)
    judge = Judge(
        replace(dataset, images=images), found[0].labels, class_map=class_map, max_detections=NO_LIMIT
    )
    for detections in found:
        judge.add(detections)
    counted = found_objects(judge.frames)
    sizes = ("all", "tiny", "small", "medium", "large")
    return {
        "objects": dict(counted.objects),
        "recall": {size: counted.recall(size) for size in sizes},
        "precision": counted.precision,
        "detections": sum(map(len, found)),
    }


def agreement(first: Sequence[Detections], second: Sequence[Detections]) -> dict[str, float]:
    """Share of each side's detections that the other one has too: same class, IoU 0.5 or more, one to one."""
    pairs = sum(len(match_detections(a, b, 0.5).pairs) for a, b in zip(first, second, strict=True))
    return {
        "of_ours": pairs / max(sum(map(len, first)), 1),
        "of_theirs": pairs / max(sum(map(len, second)), 1),
    }


def quartiles(values: Any) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = (float(value) for value in np.percentile(np.ravel(values), (25, 50, 75)))
    return {"median": median, "low": low, "high": high}


def judged(
    dataset: Dataset,
    frames: Sequence[BenchFrame],
    samples: dict[str, list[list[Sample]]],
    class_map: dict[str, Any],
) -> dict[str, Any]:
    """Everything about one group of frames."""
    found = {name: [sample.found for sample in rows[0]] for name, rows in samples.items()}
    result: dict[str, Any] = {"frames": [frame.name for frame in frames], "contestants": {}}
    spent = {
        what: {
            name: np.array([[getattr(sample, what) for sample in row] for row in rows])
            for name, rows in samples.items()
        }
        for what in ("seconds", "cpu_seconds")
    }
    for name, rows in samples.items():
        row: dict[str, Any] = {
            "seconds": quartiles(spent["seconds"][name]),
            "cpu_seconds": quartiles(spent["cpu_seconds"][name]),
            "inferences": float(np.mean([sample.inferences for sample in rows[0]])),
            **quality(dataset, frames, found[name], class_map),
        }
        if name not in MERGES:
            for what in spent:
                row[f"times_faster_by_{what}"] = {
                    merge: quartiles(spent[what][merge] / spent[what][name]) for merge in MERGES
                }
            row["agreement"] = {merge: agreement(found[name], found[merge]) for merge in MERGES}
        result["contestants"][name] = row
    return result


def print_group(group: str, result: dict[str, Any], out: Any) -> None:
    """The table of one group."""
    objects = next(iter(result["contestants"].values()))["objects"]
    counts = f"{objects['all']} objects, {objects['tiny']} below 16 px, {objects['small']} below 32 px"
    print(f"\n{group}: {len(result['frames'])} frames, {counts}", file=out)
    print(
        f"  {'':<12}{'s a frame':>10}{'quartiles':>14}{'runs':>6}{'recall':>8}{'tiny':>7}{'small':>7}"
        f"{'precision':>11}{'times faster':>14}{'quartiles':>12}{'by CPU':>8}",
        file=out,
    )
    for name, row in result["contestants"].items():
        seconds, recall = row["seconds"], row["recall"]
        spread = f"{seconds['low']:.3f}..{seconds['high']:.3f}"
        text = f"  {name:<12}{seconds['median']:>10.3f}{spread:>14}{row['inferences']:>6.1f}"
        text += "".join(
            f"{'-' if recall[size] is None else format(recall[size], '.3f'):>{width}}"
            for size, width in (("all", 8), ("tiny", 7), ("small", 7))
        )
        text += f"{'-' if row['precision'] is None else format(row['precision'], '.3f'):>11}"
        if "agreement" in row:
            ratio = row["times_faster_by_seconds"]["sahi"]
            cpu = row["times_faster_by_cpu_seconds"]["sahi"]["median"]
            spread = f"{ratio['low']:.1f}..{ratio['high']:.1f}"
            text += f"{ratio['median']:>14.2f}{spread:>12}{cpu:>8.2f}"
        print(text, file=out)
    for name, row in result["contestants"].items():
        for merge, shares in row.get("agreement", {}).items():
            print(
                f"  agreement of {name} and {merge}: {shares['of_ours']:.3f} of ours, "
                f"{shares['of_theirs']:.3f} of theirs",
                file=out,
            )


def print_weights(check: dict[str, float], versions: dict[str, str], out: Any) -> None:
    """What proves that both sides run the same network."""
    print("sahi runs with " + ", ".join(f"{key} {value}" for key, value in versions.items()), file=out)
    print(
        f"one {SIDE} px canvas: the {COMPARED} best candidates of both networks differ by at most "
        f"{check['network_px']:.2g} px and {check['network_score']:.2g} in score; both engines find "
        f"{check['engine_ours']:.0f} and {check['engine_theirs']:.0f} objects, {check['engine_pairs']:.0f} "
        f"pairs differ by {check['engine_px']:.2g} px and {check['engine_score']:.2g} in the median, "
        f"at most by {check['engine_most_px']:.2g} and {check['engine_most_score']:.2g}",
        file=out,
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--peer-engine", choices=PEER_ENGINES, default="ultralytics")
    parser.add_argument("--groups", nargs="+", choices=(*SIZE_NAMES, ALL_FRAMES), default=list(SIZE_NAMES))
    parser.add_argument("--class-map", type=Path, help="as for tercelet evaluate (COCO to VisDrone)")
    parser.add_argument("--canvases", nargs="+", default=["auto"], help="auto, or numbers; each one a row")
    parser.add_argument("--evidence", help="as for tercelet run")
    parser.add_argument("--density", help="as for tercelet run")
    parser.add_argument("--object-px", type=float, help="as for tercelet run")
    parser.add_argument("--enlarging", type=float, help="as for tercelet run")
    parser.add_argument("--object-size", type=float, help="as for tercelet run")
    parser.add_argument("--fusion", choices=("nms", "weighted"))
    parser.add_argument("--score", type=float, default=0.25)
    parser.add_argument("--iou", type=float, help="overlap that merges boxes in ours (the bundle's)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, one frame of each size")
    parser.add_argument("--json", metavar="FILE", help="- for stdout")
    return parser.parse_args(argv)


def open_ours(options: argparse.Namespace, canvases: str) -> Pipeline:
    """Our pipeline with so many canvases."""
    return open_pipeline(
        options.bundle,
        threads=options.threads,
        plan="canvas",
        canvases=None if canvases == "auto" else int(canvases),
        evidence=None if options.evidence is None else options.evidence.split(","),
        density=options.density,
        object_px=options.object_px,
        enlarging=options.enlarging,
        object_size=options.object_size,
        fusion=options.fusion,
        score_threshold=options.score,
        iou_threshold=options.iou,
        max_detections=NO_LIMIT,
    )


def main(argv: list[str] | None = None) -> int:
    """Print the tables; write them as JSON where asked."""
    options = parse(argv)
    vision.limit_threads(options.threads)
    out = sys.stderr if options.json == "-" else sys.stdout
    dataset, frames = bench_frames(options.dataset, options.groups)
    class_map = CLASS_MAP if options.class_map is None else json.loads(options.class_map.read_text("utf-8"))
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, script, labels = write_peer_model(options.checkpoint, folder, size=SIDE)
        peer = Peer(
            options.peer_python.absolute(),
            "ultralytics" if options.peer_engine == "torch" else options.peer_engine,
            script if options.peer_engine == "torch" else model,
            labels=labels,
            threads=options.threads,
            score=options.score,
        )
        with peer:
            check = same_weights(options.bundle, model, peer, frames[0], folder)
            print_weights(check, peer.versions, out)
            print(
                f"{options.threads} thread(s), {rounds} interleaved rounds, score {options.score}", file=out
            )
            results: dict[str, Any] = {}
            contestants = {merge: theirs(peer, how) for merge, how in MERGES.items()}
            pipelines = {count: open_ours(options, count) for count in options.canvases}
            contestants |= {f"canvas {count}": ours(pipeline) for count, pipeline in pipelines.items()}
            for group in options.groups:
                chosen = [frame for frame in frames if frame.group == group][: 1 if options.quick else None]
                samples = measure(contestants, chosen, rounds=rounds, folder=folder)
                results[group] = judged(dataset, chosen, samples, class_map)
                print_group(group, results[group], out)
            for pipeline in pipelines.values():
                pipeline.close()
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items()}
        record = {"settings": settings, "versions": peer.versions, "weights": check, "groups": results}
        text = json.dumps(record, indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
