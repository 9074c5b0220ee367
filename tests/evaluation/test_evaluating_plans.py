"""tercelet evaluate --plan: plans side by side on the same frames, on a seeded network and on yolov5n."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Provenance
from tercelet.contract.plan import AerialReport, Plan
from tercelet.evaluation import PlanComparison, evaluate, evaluate_plans
from tercelet.evaluation.plan_comparing import plan_names
from tercelet.evaluation.plan_plot import recall_cost_svg
from tercelet.export import export
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image, write_image
from tercelet.training import build, write_checkpoint

# Near ties of random weights move the ranks of some of forty objects.
RANKS = 0.03
# Some of two hundred objects of which few are found.
FIGURES = 0.005
SUMS = 1e-6
SIDE = 64
COCO_ON_VISDRONE = {
    "person": ["pedestrian", "people"],
    "bicycle": "bicycle",
    "car": ["car", "van"],
    "motorcycle": "motor",
    "bus": "bus",
    "truck": "truck",
}
WANTED = {"ap50", "recall", "recall_small", "inferences_per_frame", "ms_per_frame"}


@pytest.fixture(scope="module")
def noisy_set(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO data set of two frames larger than the canvas; the truth is what the plan full finds."""
    folder = tmp_path_factory.mktemp("plans") / "set"
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for index, (height, width) in enumerate(((100, 150), (64, 64))):
        path = folder / "images" / "val" / f"{index}.png"
        write_image(path, rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        with open_pipeline(tiny_bundle, score_threshold=0.001, iou_threshold=0.7, plan="full") as detect:
            found = detect(read_image(path))
        lines = [
            f"{c} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
            for (x1, y1, x2, y2), c in zip(found.boxes[:20].tolist(), found.class_ids[:20], strict=True)
        ]
        (folder / "labels" / "val" / f"{index}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def density_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A density network with seeded weights."""
    folder = tmp_path_factory.mktemp("density") / "lite-checkpoint"
    torch.manual_seed(0)
    network = build("density-lite")
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none")
    write_checkpoint(folder, network, labels=("object",), provenance=provenance, canvas=(64, 96))
    return export(folder, output=folder.parent / "lite-bundle")


@pytest.fixture(scope="module")
def compared(tiny_bundle: Path, noisy_set: Path) -> PlanComparison:
    return evaluate_plans(tiny_bundle, noisy_set, plans="full,grid,canvas", quiet=True)


def test_the_verb_prints_a_row_a_plan_and_writes_json_pictures_and_the_plot(
    tiny_bundle: Path, noisy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, saved = tmp_path / "out" / "result.json", tmp_path / "saved"
    verb = ["evaluate", str(tiny_bundle), str(noisy_set), "--json", str(out), "--save", str(saved)]
    assert main([*verb, "--plan", "full", "grid,canvas"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    header = next(line for line in lines if line.startswith("plan "))
    assert " ".join(header.split()) == (
        "plan AP AP50 recall tiny small medium large precision inferences Mpx ms"
    )
    first = lines.index(header) + 1
    assert [line.split()[0] for line in lines[first : first + 3]] == ["full", "grid", "canvas"]
    assert "protocol  coco: " in captured.out
    assert "score above 0.25" in captured.out
    assert "AP comes from a run down to score 0.001" in captured.out
    assert "evaluate: 4/4" in captured.err
    record = json.loads(out.read_text())
    assert list(record["plans"]) == ["full", "grid", "canvas"]
    assert all(set(plan) >= WANTED for plan in record["plans"].values())
    assert record["settings"]["recall_score"] == 0.25
    assert (record["frames"], record["ground_truth"]) == (2, 40)
    assert record["class_mapping"]["classes"]["owl"] == {"labels": ["owl"], "categories": ["owl"]}
    names = sorted(str(path.relative_to(saved)) for path in saved.rglob("*.*"))
    pictures = [f"{plan}/{index:06d}_{index}.jpg" for plan in ("canvas", "full", "grid") for index in (0, 1)]
    assert names == [*pictures, "recall_cost.svg"]


def test_json_to_stdout_is_json_alone(
    tiny_bundle: Path, noisy_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["evaluate", str(tiny_bundle), str(noisy_set), "--plan", "full", "--json", "-", "--quiet"]
    assert main(verb) == 0
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["plans"]) == ["full"]
    assert captured.err == ""


def test_costs_are_those_of_the_plans(compared: PlanComparison) -> None:
    costs = {item.plan: item.cost for item in compared.plans}
    assert costs["full"].inferences == 1
    # 100x150 takes 2x3 tiles of 64 with an overlap of a fifth, 64x64 one.
    assert costs["grid"].inferences == 1 + (6 + 1) / 2
    assert 1 <= costs["canvas"].inferences < costs["grid"].inferences
    for cost in costs.values():
        assert cost.pixels == cost.inferences * SIDE * SIDE
        assert cost.ms == pytest.approx(sum(cost.ms_by_stage.values()), rel=SUMS)
        assert 0 < cost.ms_median <= cost.ms_p95
    assert costs["canvas"].evidence == ("full",)
    assert costs["full"].evidence == ()


def test_a_plan_judged_by_its_own_best_detections_is_perfect(compared: PlanComparison) -> None:
    full = compared.plan("full")
    assert full.evaluation.ground_truth == 40
    # Ground truth passes through text and float32, and so may a near tie.
    assert full.everything.recall() == pytest.approx(1, abs=RANKS)
    for item in compared.plans:
        assert item.everything.objects == item.working.objects
        assert (item.everything.recall() or 0) >= (item.working.recall() or 0)


def test_one_plan_alone_through_evaluate_is_that_plan(
    compared: PlanComparison, tiny_bundle: Path, noisy_set: Path
) -> None:
    result = evaluate(tiny_bundle, noisy_set, plan="grid", canvases=9, quiet=True)
    assert result.settings == {
        "score": 0.001,
        "iou": 0.7,
        "max_detections": 300,
        "plan": "grid",
        "canvases": 9,
    }
    assert result.precision.ap == pytest.approx(compared.plan("grid").evaluation.precision.ap, abs=RANKS)


def test_without_a_plan_nothing_is_new(
    tiny_bundle: Path, noisy_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["evaluate", str(tiny_bundle), str(noisy_set), "--quiet", "--json", "-"]
    assert main(verb) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == [
        *("protocol", "bundle", "dataset", "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
        *("recall", "per_class", "frames", "ground_truth", "detections", "left_out", "class_mapping"),
        *("settings", "notes", "best_f1"),
    ]
    assert record["settings"] == {"score": 0.001, "iou": 0.7, "max_detections": 300}
    assert main([*verb, "--recall-score", "0.5"]) == 2
    assert "--recall-score: expected together with --plan" in capsys.readouterr().err


def test_recall_of_all_detections_needs_one_run(
    tiny_bundle: Path, noisy_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["evaluate", str(tiny_bundle), str(noisy_set), "--plan", "full", "--recall-score", "0"]
    assert main(verb) == 0
    captured = capsys.readouterr()
    assert "evaluate: 2/2" in captured.err
    assert "detections of any score" in captured.out
    assert "AP comes from" not in captured.out
    (item,) = evaluate_plans(tiny_bundle, noisy_set, plans=["full"], recall_score=None, quiet=True).plans
    assert item.working == item.everything
    assert item.record()["recall"] == item.record()["recall_all"]


class _ByTheBook:
    """A pipeline that finds what it is told to, above its threshold."""

    def __init__(
        self, rows: list[tuple[float, ...]], score_threshold: float, labels: tuple[str, ...]
    ) -> None:
        self._table = np.array([row for row in rows if row[4] > score_threshold], np.float32).reshape(-1, 6)
        self._labels = labels

    def __call__(self, frame: np.ndarray) -> Detections:
        return Detections(
            boxes=self._table[:, :4],
            scores=self._table[:, 4],
            class_ids=self._table[:, 5].astype(np.int64),
            labels=self._labels,
            timing_ms={"infer": 1.0},
            report=AerialReport(Plan("grid", left_out=((0, 0, 1, 1),)), inferences=3, pixels=300),
        )

    def __enter__(self) -> _ByTheBook:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_each_plan_is_opened_with_what_concerns_it_and_judged_by_what_it_finds(
    tiny_bundle: Path,
    tmp_path: Path,
    write_picture: Callable[..., Path],
    density_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_picture(tmp_path / "a.png", 64, 48)
    boxes = [(0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 40, 48)]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": i,
                "image_id": 1,
                "category_id": 1,
                "bbox": [x, y, r - x, b - y],
                "area": (r - x) * (b - y),
            }
            for i, (x, y, r, b) in enumerate(boxes, 1)
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    rows = [(*boxes[0], 0.9, 0), (50, 40, 60, 48, 0.5, 0), (*boxes[2], 0.1, 0)]
    opened = []

    def open_recorded(bundle: Path, *, score_threshold: float, **options: Any) -> _ByTheBook:
        opened.append((score_threshold, options))
        return _ByTheBook(rows, score_threshold, ("cat", "dog", "owl"))

    monkeypatch.setattr("tercelet.evaluation.plan_comparing.open_pipeline", open_recorded)
    common = {"density": density_bundle, "evidence": ["full"], "canvases": 2, "overlap": 0.1, "threads": 1}
    result = evaluate_plans(
        tiny_bundle, tmp_path / "a.json", plans="grid,dmnet,canvas", quiet=True, iou=0.6, **common
    )
    assert [score for score, _ in opened] == [0.001] * 3 + [0.25] * 3
    assert all(options["max_detections"] > 1e9 for _, options in opened)
    assert all(options["iou_threshold"] == 0.6 and options["threads"] == 1 for _, options in opened)
    assert all(options["canvases"] == 2 for _, options in opened)
    assert ["overlap" in options for _, options in opened[:3]] == [True, False, False]
    assert [options["plan"] for _, options in opened[:3]] == ["grid", "dmnet", "canvas"]
    assert ["density" in options for _, options in opened[:3]] == [False, True, False]
    assert ["evidence" in options for _, options in opened[:3]] == [False, False, True]
    record = result.record()["plans"]["grid"]
    assert (record["recall"], record["recall_all"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (record["recall_tiny"], record["recall_small"]) == (0.5, 0.5)
    assert (record["recall_medium"], record["recall_large"]) == (0, None)
    assert (record["found"], record["wrong"], record["precision"]) == (1, 1, 0.5)
    assert (record["inferences_per_frame"], record["pixels_per_frame"]) == (3, 300)
    assert (record["ms_per_frame"], record["short_frames"], record["detections"]) == (1, 1, 3)
    assert result.record()["ground_truth_by_size"] == {"tiny": 2, "small": 2, "medium": 1, "large": 0}
    opened.clear()
    evaluate_plans(tiny_bundle, tmp_path / "a.json", plans="canvas", density=density_bundle, quiet=True)
    assert "density" in opened[0][1]


def test_dmnet_runs_beside_the_others_with_a_density_network(
    tiny_bundle: Path, noisy_set: Path, density_bundle: Path
) -> None:
    result = evaluate_plans(
        tiny_bundle, noisy_set, plans=["full", "dmnet"], density=density_bundle, quiet=True
    )
    stages = [item.cost.ms_by_stage["density"] for item in result.plans]
    assert stages[1] > stages[0]
    assert result.settings["density"] == str(density_bundle)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("grid", ("grid",)),
        ("full, canvas", ("full", "canvas")),
        (["canvas", "grid,full"], ("canvas", "grid", "full")),
    ],
)
def test_plans_come_in_one_text_or_in_several(words: str | list[str], names: tuple[str, ...]) -> None:
    assert plan_names(words) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plans": []}, "plan: expected at least one of full, grid, dmnet, canvas, got none"),
        ({"plans": ""}, "plan: expected some of full, grid, dmnet, canvas, got ''"),
        ({"plans": "full,tiles"}, "plan: expected some of .*, got 'tiles'"),
        ({"plans": ["full", "grid,full"]}, "plan: expected every plan once, got full twice"),
        ({"plans": "full,dmnet"}, "plan: dmnet needs a density network.*--density BUNDLE"),
        ({"recall_score": -0.1}, "recall_score: expected a number from 0 to 1, got -0.1"),
        ({"recall_score": 0.01, "score": 0.1}, "recall_score: expected 0 .* or at least 0.1, .* got 0.01"),
        ({"plans": "full", "density": "d"}, r"density: none of the plans .* \(full\) would use it"),
        ({"plans": "grid", "evidence": ["full"]}, r"evidence: none of the plans .* \(grid\) would use it"),
        (
            {"plans": "dmnet,canvas", "density": "d", "density_threshold": 0.1},
            "density_threshold: means objects in a window to dmnet, evidence in a cell to canvas",
        ),
        ({"json": "."}, "expected a file for the results, got a folder"),
        ({"save": ""}, "save: expected a path, got an empty name"),
    ],
)
def test_impossible_requests_are_refused_before_the_data_set_is_read(
    tiny_bundle: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_plans(tiny_bundle, "nowhere", quiet=True, **{"plans": "full,canvas", **options})


def test_the_command_refuses_in_one_line(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tiny_bundle), "nowhere", "--plan", "full", "full"]) == 2
    captured = capsys.readouterr()
    assert "plan: expected every plan once, got full twice" in captured.err
    assert captured.err.count("\n") == 1


def test_the_plot_names_every_plan_in_both_panels_and_no_label_lies_on_another(
    compared: PlanComparison,
) -> None:
    # The worst case: three plans in one point.
    same = tuple(type(item)(**{**vars(compared.plans[0]), "plan": item.plan}) for item in compared.plans)
    for result in (compared, PlanComparison(same, compared.settings)):
        root = ElementTree.fromstring(recall_cost_svg(result))
        space = "{http://www.w3.org/2000/svg}"
        assert len(root.findall(f"{space}circle")) == 2 * len(result.plans)
        texts = root.findall(f"{space}text")
        assert {"inferences a frame", "milliseconds a frame"} <= {text.text for text in texts}
        for item in result.plans:
            label = f"{item.plan} {item.working.recall():.3f}"
            assert [text.text for text in texts].count(label) == 2
        labels = [text for text in texts if text.get("font-weight") == "bold"][1:]
        spans = []
        for text in labels:
            x, y, width = float(text.get("x", "")), float(text.get("y", "")), 8 * len(text.text or "")
            left = x - width if text.get("text-anchor") == "end" else x
            assert 0 < left < left + width < 960
            assert all(left >= end or left + width <= start or abs(y - at) >= 16 for start, end, at in spans)
            spans.append((left, left + width, y))


def test_a_plot_of_a_data_set_without_objects_has_axes_and_no_points(
    tiny_bundle: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    write_picture(tmp_path / "a & b.png", 64, 48)
    data = {
        "images": [{"id": 1, "file_name": "a & b.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "a & b.json").write_text(json.dumps(data))
    result = evaluate_plans(
        tiny_bundle, tmp_path / "a & b.json", plans="full", save=tmp_path / "out", quiet=True
    )
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record["plans"]["full"]["recall"] is None
    svg = (tmp_path / "out" / "recall_cost.svg").read_text()
    assert "a &amp; b.json" in svg
    assert "<circle" not in svg
    assert ElementTree.fromstring(svg) is not None


def test_closer_looks_find_more_on_real_frames_and_cost_more(yolov5n_bundle: Path, shared: Path) -> None:
    asked: dict[str, Any] = {"class_map": COCO_ON_VISDRONE, "limit": 2, "quiet": True}
    data = shared / "data" / "visdrone"
    result = evaluate_plans(yolov5n_bundle, data, plans="full,grid,canvas", **asked)
    full, grid, canvas = result.plans
    recalls = [item.working.recall() or 0.0 for item in (full, grid, canvas)]
    assert recalls[0] < min(recalls[1:])
    assert full.cost.inferences == 1 < canvas.cost.inferences <= grid.cost.inferences / 2 + 1
    assert full.evaluation.protocol.startswith("visdrone: ")
    mapping = result.record()["class_mapping"]
    assert set(mapping["unmatched_categories"]) == {"tricycle", "awning-tricycle"}
    # Boxes are cut at the frame before suppression with a plan, after it without one.
    plain = evaluate(yolov5n_bundle, data, **asked)
    assert full.evaluation.precision.ap50 == pytest.approx(plain.precision.ap50, abs=FIGURES)
