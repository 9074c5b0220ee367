"""benchmark: what is measured, in which order, and how it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.runtime import benchmark, benchmarking
from tercelet.runtime.benchmark_frames import benchmark_frames
from tercelet.runtime.benchmark_table import table_from_benchmark
from tercelet.runtime.benchmarking import BenchmarkResult, distinct_names, schedule
from tercelet.runtime.cold_start import Memory, measure_memory
from tercelet.runtime.command_line import main
from tercelet.runtime.latency import distribution_of, ratio_of

STAGES = ("read", "preprocess", "infer", "postprocess")
AERIAL_STAGES = ("read", "preprocess", "density", "infer", "plan", "cut", "postprocess")
# Rounding of means in float64.
ROUNDING_MS = 1e-6


@pytest.fixture(scope="module")
def pair(tiny_bundle: Path) -> BenchmarkResult:
    """A bundle measured against itself, with everything that can be measured."""
    return benchmark(tiny_bundle, against=[tiny_bundle], frames=6, warmup=1, rounds=3, threads=1)


def test_no_samples_have_no_distribution() -> None:
    with pytest.raises(InputError, match="at least one measured time, got none"):
        distribution_of([])


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([7.0], {"p50": 7, "p90": 7, "p99": 7, "mean": 7, "jitter": 0, "iqr": 0, "count": 1}),
        (
            list(range(101)),
            {"p50": 50, "p90": 90, "p99": 99, "mean": 50, "jitter": 49, "iqr": 50, "min": 0, "max": 100},
        ),
        ([1, 1, 1, 1, 5], {"p50": 1, "mean": 1.8, "iqr": 0, "p99": 4.84, "jitter": 3.84}),
    ],
)
def test_percentiles_of_known_samples(samples: list[float], expected: dict[str, float]) -> None:
    found = distribution_of(samples)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)


def test_a_ratio_compares_medians_within_each_round() -> None:
    # The machine slows down threefold in the second round; the ratio does not notice.
    ratio = ratio_of([[2.0, 2.0, 50.0], [6.0, 6.0], [2.2]], [[1.0, 1.0, 1.0], [3.0, 3.0], [1.0]])
    assert ratio.rounds == pytest.approx((2.0, 2.0, 2.2))
    assert (ratio.median, ratio.min, ratio.max) == pytest.approx((2.0, 2.0, 2.2))
    assert (ratio.lower_quartile, ratio.upper_quartile) == pytest.approx((2.0, 2.1))


@pytest.mark.parametrize(("first", "second"), [([], []), ([[1.0]], [[1.0], [2.0]])])
def test_a_ratio_needs_rounds_on_both_sides(first: list[list[float]], second: list[list[float]]) -> None:
    with pytest.raises(InputError, match="same number of rounds"):
        ratio_of(first, second)


def test_bundles_take_turns_and_every_second_round_goes_backwards() -> None:
    blocks = list(schedule(2, frames=7, rounds=3))
    assert blocks == [
        (0, range(2)),
        (1, range(2)),
        (1, range(2, 4)),
        (0, range(2, 4)),
        (0, range(4, 7)),
        (1, range(4, 7)),
    ]


@pytest.mark.parametrize(("frames", "rounds"), [(1, 1), (10, 10), (101, 10), (9, 4)])
def test_every_bundle_sees_every_frame_once(frames: int, rounds: int) -> None:
    for number in range(3):
        seen = [i for who, block in schedule(3, frames=frames, rounds=rounds) if who == number for i in block]
        assert seen == list(range(frames))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/one", "b/two"], ["one", "two"]),
        (["a/one", "b/one"], ["a/one", "b/one"]),
        (["one", "one", "x/two"], ["one", "one (2)", "two"]),
    ],
)
def test_names_tell_bundles_apart_without_their_whole_path(paths: list[str], names: list[str]) -> None:
    assert distinct_names([Path(path) for path in paths]) == names


def test_every_figure_is_there(pair: BenchmarkResult) -> None:
    assert [bundle.name for bundle in pair.bundles] == ["tiny-bundle", "tiny-bundle (2)"]
    for bundle in pair.bundles:
        assert tuple(bundle.stages_ms) == STAGES
        assert bundle.stages_ms["read"] is None
        assert bundle.total_ms.count == 6
        parts = [times.mean for times in bundle.stages_ms.values() if times is not None]
        assert len(parts) == 3
        assert bundle.plan is bundle.inferences_per_frame is None
        assert sum(parts) <= bundle.total_ms.mean + ROUNDING_MS
        assert bundle.frames_per_second == pytest.approx(1e3 / bundle.total_ms.mean)
        assert bundle.cpu_ms_per_frame > 0
        assert (bundle.detector, bundle.canvas, bundle.precision) == ("yolov5n", (64, 64), "fp32")
        assert bundle.backend.startswith("onnxruntime ")
    assert "inferences" not in table_from_benchmark(pair)
    assert pair.settings.images == "4 synthetic frames of 720x1280 in memory"


def test_a_bundle_against_itself_is_compared_in_every_round(pair: BenchmarkResult) -> None:
    (comparison,) = pair.comparisons
    assert comparison.against == "tiny-bundle (2)"
    for ratio in (comparison.total, comparison.infer, comparison.cpu):
        assert len(ratio.rounds) == 3
        assert 0 < ratio.min <= ratio.lower_quartile <= ratio.median <= ratio.upper_quartile <= ratio.max


def test_a_cold_start_takes_longer_than_importing_the_packages_alone(pair: BenchmarkResult) -> None:
    assert pair.imports is not None
    for bundle in pair.bundles:
        assert bundle.cold_start is not None
        assert len(bundle.cold_start.wall_runs_ms) == len(bundle.cold_start.cpu_runs_ms) == 3
        assert 0 < min(pair.imports.cpu_runs_ms) < min(bundle.cold_start.cpu_runs_ms)
        assert min(*pair.imports.wall_runs_ms, *bundle.cold_start.wall_runs_ms) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the high-water mark")
def test_memory_holds_the_model_and_what_a_frame_adds(pair: BenchmarkResult) -> None:
    for bundle in pair.bundles:
        memory = bundle.memory
        assert memory.loaded_bytes is not None
        assert memory.model_bytes is not None
        assert memory.peak_above_loaded_bytes is not None
        # The weights of this network alone are 7 MB; a frame takes its activations at least.
        assert 7e6 < memory.model_bytes < memory.loaded_bytes < 1e9
        assert 1e4 < memory.peak_above_loaded_bytes < 5e8


def test_a_plan_is_measured_stage_by_stage_with_what_it_costs_in_inferences(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frames", "2", "--warmup", "0", "--threads", "1", "--no-cold-start", "--quiet"]
    assert main(["benchmark", str(tiny_bundle), *words, "--plan", "grid", "--canvases", "3"]) == 0
    table = capsys.readouterr().out
    assert "plan grid, 4.0 inferences a frame" in table
    assert [line.split()[0] for line in table.splitlines() if line.startswith("  ")][:8] == [
        "ms",
        "total",
        *AERIAL_STAGES[1:],
    ]
    assert main(["benchmark", str(tiny_bundle), *words, "--evidence", "full, previous", "--json", "-"]) == 0
    (bundle,) = json.loads(capsys.readouterr().out)["bundles"]
    assert tuple(bundle["stages_ms"]) == AERIAL_STAGES
    assert bundle["plan"] == "canvas"
    assert bundle["inferences_per_frame"] >= 1
    assert bundle["stages_ms"]["plan"]["count"] == 2


def test_fresh_processes_look_as_close_as_this_one(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[dict[str, object]] = []

    def measure(bundle: Path, *, frame: Path, options: dict[str, object]) -> Memory:
        handed.append(json.loads(json.dumps(options)))
        return measure_memory(bundle, frame=frame, options=options)

    monkeypatch.setattr(benchmarking, "measure_memory", measure)
    looks: dict[str, object] = {"plan": "canvas", "evidence": "full", "canvases": 1, "fusion": "weighted"}
    result = benchmark(
        tiny_bundle, against=[tiny_bundle], frames=1, warmup=0, threads=1, cold_start=False, **looks
    )  # type: ignore[arg-type]
    assert [bundle.plan for bundle in result.bundles] == ["canvas", "canvas"]
    assert len(handed) == 2
    for options in handed:
        assert {**looks, "evidence": ["full"]}.items() <= options.items()
        assert options["density"] is options["budget_ms"] is None


def test_a_fresh_process_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(
        CheckFailedError, match=r"fresh process for 'memory_use' failed: .*got nothing there.*doctor"
    ):
        measure_memory(tmp_path / "none", frame=tmp_path / "none.npy", options={})


def test_pictures_are_read_from_their_files(
    tiny_bundle: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        write_picture(folder / name)
    result = benchmark(
        tiny_bundle, images=[folder, folder / "a.png"], frames=2, warmup=0, threads=1, cold_start=False
    )
    (bundle,) = result.bundles
    assert result.settings.images == "3 picture files"
    assert bundle.stages_ms["read"] is not None
    assert bundle.stages_ms["read"].min > 0
    assert bundle.cold_start is result.imports is None
    assert result.settings.rounds == 2
    assert "read  " in table_from_benchmark(result)


def test_frames_begin_anew_when_they_run_out(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    feed = benchmark_frames(write_picture(tmp_path / "one.png"))
    assert feed.first_file(tmp_path).name == "one.png"
    assert np.array_equal(feed.take(0)[0], feed.take(5)[0])
    synthetic = benchmark_frames(None)
    assert np.array_equal(synthetic.take(0)[0], synthetic.take(4)[0])
    assert not np.array_equal(synthetic.take(0)[0], synthetic.take(1)[0])
    assert np.array_equal(np.load(synthetic.first_file(tmp_path)), synthetic.take(0)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames: expected at least 1, got 0"),
        ({"warmup": -1}, "warmup: expected 0 or more, got -1"),
        ({"frames": 5, "rounds": 6}, "rounds: expected 1 to 5"),
        ({"rounds": 0}, "rounds: expected 1 to 100"),
        ({"threads": 0}, "threads: expected 1 to 256, got 0"),
        ({"images": []}, "images: expected at least one"),
        ({"canvases": -1}, "canvases: expected 0 to 256"),
        ({"density": ""}, "density: expected a path, got an empty name"),
        ({"plan": "dmnet"}, "dmnet needs a density network"),
        ({"images": ["0"]}, r"expected pictures or folders of them, got 0 \(camera\)"),
        ({"images": ["nowhere.jpg"]}, "nothing is there"),
        ({"against": [""]}, "bundle: expected a path, got an empty name"),
        ({"images": [""]}, "source: expected a path, got an empty name"),
        ({"against": ["nowhere"]}, "nowhere: expected a folder"),
    ],
)
def test_an_impossible_request_is_refused(
    tiny_bundle: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        benchmark(tiny_bundle, **options)  # type: ignore[arg-type]


def test_the_verb_writes_a_table_and_json(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    code = main(
        [
            "benchmark", str(tiny_bundle), "--against", str(tiny_bundle), "--frames", "4", "--warmup", "0",
            "--threads", "1", "--json", str(target),
        ]
    )  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0
    assert "benchmark" in err
    for word in (
        "machine",
        "p50",
        "total",
        "infer",
        "cold start",
        "memory",
        "tiny-bundle (2)",
        "nothing was read",
    ):
        assert word in out
    figures = json.loads(target.read_text())
    assert set(figures) == {"machine", "settings", "imports", "bundles", "comparisons"}
    assert set(figures["bundles"][0]["stages_ms"]) == set(STAGES)
    assert {"p50", "p90", "p99", "mean", "jitter", "iqr"} <= set(figures["bundles"][0]["total_ms"])
    assert set(figures["bundles"][0]["memory"]) == {"loaded_bytes", "model_bytes", "peak_above_loaded_bytes"}
    assert {"wall_ms", "cpu_ms"} <= set(figures["bundles"][0]["cold_start"])
    assert set(figures["comparisons"][0]) == {"against", "total", "infer", "cpu"}
    assert str(tmp_path) not in target.read_text()


def test_the_verb_puts_nothing_but_json_on_stdout_for_a_dash(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frames", "1", "--warmup", "0", "--threads", "1", "--no-cold-start", "--quiet", "--json", "-"]
    assert main(["benchmark", str(tiny_bundle), *words]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["imports"] is None
    assert err == ""


def test_a_bundle_that_is_none_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected manifest.json in it" in err


@pytest.mark.parametrize("verb", [["benchmark", "bundle"], ["inspect", "bundle"], ["doctor"]])
@pytest.mark.parametrize("target", ["", "picture.jpg", "."])
def test_a_place_that_is_none_for_json_is_refused_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: list[str],
    target: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(b"precious")
    assert main([*verb, "--json", target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # The bundle is not there either, which would be found next.
    assert "bundle" not in err
    assert (tmp_path / "picture.jpg").read_bytes() == b"precious"


def test_the_table_is_there_even_if_the_json_cannot_be_written(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frames", "1", "--warmup", "0", "--threads", "1", "--no-cold-start", "--quiet"]
    assert main(["benchmark", str(tiny_bundle), *words, "--json", "/dev/full"]) == 2
    out, err = capsys.readouterr()
    assert "p50" in out
    assert "No space left" in err
