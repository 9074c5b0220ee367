"""AKConv as it is exported elsewhere, in standard operators, and natively; layers, whole network, memory.

    python benchmarks/bench_akconv.py [--size 640] [--rounds 20] [--threads 1 2] [--json FILE]

naive: four gathers a tap and the rearrangement that the published code does, exported as it stands.
row_gather and deform_conv: the bodies. native: the kernels that tercelet build-ops builds. plain: YOLOv5n
without AKConv. All forms run in turn within a round, so that what else the machine does hits all alike;
figures are medians over the rounds with quartiles. Peak memory is that of a fresh process above what it had
when the graph was loaded.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from tercelet.contract.op_spec import Case, largest_relative_difference
from tercelet.contract.preprocess import Preprocess
from tercelet.contract.scenes import synthetic_frame
from tercelet.export.onnx_from_detector import onnx_from_detector
from tercelet.export.op_lowering import lower_ops
from tercelet.ops import OPS
from tercelet.ops.akconv_sample.torch_kernel import differentiable_composition
from tercelet.ops.bindings.onnx import attach_bodies
from tercelet.ops.bindings.onnx_bytes import bytes_from_op
from tercelet.ops.building import build_library
from tercelet.runtime.backends.onnxruntime import Runner, open_runner
from tercelet.runtime.memory_mark import peak_bytes, reset_peak, resident_bytes
from tercelet.training import build
from tercelet.training.detectors.akconv import AKConv

BODIES = ("row_gather", "deform_conv")
FORMS = ("naive", *BODIES, "native")
OFFSET_SPREAD = 1.5
WARM_UP = 3
Models = dict[str, tuple[bytes, Path | None]]
Arrays = Mapping[str, NDArray[Any]]


class NaiveLayer(torch.nn.Module):
    """What follows the offsets in an AKConv layer, written as it was published."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, **attributes: Any) -> None:
        super().__init__()
        self.weight, self.bias, self.attributes = (
            torch.nn.Parameter(weight),
            torch.nn.Parameter(bias),
            attributes,
        )

    def forward(self, x: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        sampled = differentiable_composition(x, offset, **self.attributes)
        count = sampled.shape[2]
        rows = sampled.permute(0, 1, 3, 2, 4).flatten(2, 3)  # (B, C, h * N, w)
        convolved = torch.nn.functional.conv2d(rows, self.weight, self.bias, stride=(count, 1))
        return torch.nn.functional.silu(convolved)


def naive_layer(case: Case) -> bytes:
    """One layer of the case table as an ordinary export."""
    x, offset, weight, bias = (torch.from_numpy(np.array(a)) for a in case.inputs)
    strides = case.attributes["strides"]
    assert isinstance(strides, tuple)
    layer = NaiveLayer(
        weight.transpose(2, 3).contiguous(), bias,
        stride=strides[0], grid=case.attributes["grid"], taps=case.attributes["taps"],
    )  # fmt: skip
    with torch.no_grad():
        program = torch.onnx.export(
            layer, (x, offset), dynamo=True, input_names=["x", "offset"], verbose=False, opset_version=19
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = 10
    return bytes(model.SerializeToString())


def layer_models(case: Case, library: Path) -> Models:
    """The four forms of one layer; weights are constants in all of them."""
    spec = OPS["AKConv"]
    model = onnx.load_from_string(bytes_from_op(spec, [a.shape for a in case.inputs], case.attributes))
    for name, array in (("weight", case.inputs[2]), ("bias", case.inputs[3])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        model.graph.input.remove(next(item for item in model.graph.input if item.name == name))
    models: Models = {"naive": (naive_layer(case), None)}
    for form in BODIES:
        attach_bodies(model, {spec.name: form})
        models[form] = (model.SerializeToString(), None)
    models["native"] = (model.SerializeToString(), library)
    return models


def times_of(models: Models, inputs: Arrays, *, threads: int, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every round by form, in turn within a round."""
    runners = {
        name: open_runner(model, library=library, threads=threads)
        for name, (model, library) in models.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in runners}
    for index in range(WARM_UP + rounds):
        for name, runner in runners.items():
            feeds = _feeds(runner, inputs)
            start = time.perf_counter()
            runner.run(feeds)
            if index >= WARM_UP:
                spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.asarray(values) for name, values in spent.items()}


def _feeds(runner: Runner, inputs: Arrays) -> dict[str, NDArray[Any]]:
    return {name: inputs[name] for name in runner.inputs}


def peaks_of(models: Models, inputs: Arrays, folder: Path) -> dict[str, float]:
    """MB above the loaded graph at the peak of three runs, each form in a process of its own."""
    np.savez(folder / "inputs.npz", **inputs)
    peaks = {}
    for name, (model, library) in models.items():
        (folder / "model.onnx").write_bytes(model)
        command = [sys.executable, __file__, "--peak", str(folder), "--library", str(library or "")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[name] = float(done.stdout) / 1e6
    return peaks


def print_peak(folder: Path, library: str) -> None:
    """The child process of `peaks_of`."""
    runner = open_runner(
        (folder / "model.onnx").read_bytes(), library=Path(library) if library else None, threads=1
    )
    with np.load(folder / "inputs.npz") as stored:
        feeds = {name: stored[name] for name in runner.inputs}
    reset_peak()
    before = resident_bytes() or 0
    for _ in range(3):
        runner.run(feeds)
    print((peak_bytes() or 0) - before)


def matrix_ceiling() -> float:
    """GFLOP/s of one thread of ONNX Runtime on a large matrix product: what a layer could reach."""
    size = 768
    value = onnx.helper.make_tensor_value_info
    shape = [size, size]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product",
        [value(name, onnx.TensorProto.FLOAT, shape) for name in "ab"], [value("c", onnx.TensorProto.FLOAT,
        shape)],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=10)
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spent = times_of(
        {"product": (model.SerializeToString(), None)}, {"a": array, "b": array}, threads=1, rounds=20
    )
    return float(2 * size**3 / np.median(spent["product"]) / 1e6)


def bench_layers(library: Path, *, threads: list[int], rounds: int) -> dict[str, Any]:
    """Every AKConv layer of yolov5n-akconv at 640 px."""
    spec = OPS["AKConv"]
    result: dict[str, Any] = {}
    for case in (case for case in spec.cases() if case.layer):
        models = layer_models(case, library)
        inputs = dict(zip(("x", "offset"), case.inputs, strict=False))
        expected = spec.reference(*case.inputs, **case.attributes)
        row: dict[str, Any] = {"parity": {}, "ms": {}}
        for name, (model, used) in models.items():
            runner = open_runner(model, library=used)
            got = next(iter(runner.run(_feeds(runner, inputs)).values()))
            row["parity"][name] = largest_relative_difference(got, expected)
        for count in threads:
            spent = times_of(models, inputs, threads=count, rounds=rounds)
            row["ms"][count] = {name: _summary(values) for name, values in spent.items()}
        with tempfile.TemporaryDirectory() as folder:
            row["peak_mb"] = peaks_of(models, inputs, Path(folder))
        weight, offset = case.inputs[2], case.inputs[1]
        row["gflop"] = 2e-9 * weight.size * offset.shape[0] * offset.shape[2] * offset.shape[3]
        result[case.layer] = row
        _print_layer(case.layer, row, threads)
    return result


def _summary(values: NDArray[np.float64]) -> list[float]:
    """Median and quartiles."""
    return [round(float(np.percentile(values, q)), 3) for q in (50, 25, 75)]


def _print_layer(layer: str, row: dict[str, Any], threads: list[int]) -> None:
    for count in threads:
        ms = row["ms"][count]
        cells = "  ".join(
            f"{name} {ms[name][0]:7.2f} ({ms[name][1]:.2f}..{ms[name][2]:.2f})" for name in FORMS
        )
        gain = ms["naive"][0] / ms["native"][0]
        print(f"layer {layer:>2}, {count} thread(s), ms: {cells}  native {gain:.1f} x naive", flush=True)
    peaks = "  ".join(f"{name} {row['peak_mb'][name]:.1f}" for name in FORMS)
    parity = "  ".join(f"{name} {row['parity'][name]:.1g}" for name in FORMS)
    print(f"          peak MB: {peaks}   largest relative difference: {parity}", flush=True)


def ready_detector(name: str) -> Any:
    """A detector with random weights whose activations and offsets have the size of a trained one's."""
    torch.manual_seed(0)
    detector = build(name).train()
    frame = synthetic_frame(0, height=320, width=320)
    images = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None].float() / 255
    for part in detector.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
        if isinstance(part, AKConv):
            torch.nn.init.normal_(part.p_conv.weight)
            part.register_forward_pre_hook(_spread_offsets)
    with torch.no_grad():
        detector(images)
    for part in detector.modules():
        part._forward_pre_hooks.clear()
    return detector.eval()


def _spread_offsets(layer: AKConv, inputs: tuple[torch.Tensor, ...]) -> None:
    spread = layer.p_conv(inputs[0]).std()
    layer.p_conv.weight.mul_(OFFSET_SPREAD / spread)


def naive_forward(self: AKConv, x: torch.Tensor) -> torch.Tensor:
    """AKConv.forward as it was published; BatchNorm is folded already."""
    pointwise = self.conv[0]
    count = len(self.taps) // 2
    weight = pointwise.weight.detach().view(pointwise.weight.shape[0], -1, count, 1)
    layer = NaiveLayer(weight, pointwise.bias.detach(), stride=self.stride, grid=self.grid, taps=self.taps)
    return layer(x, self.offsets(x))


def network_models(size: int, library: Path, folder: Path) -> tuple[Models, NDArray[np.uint8]]:
    """YOLOv5n with AKConv in all forms, and without."""
    preprocess = Preprocess(size, size, color="BGR")
    canvas = synthetic_frame(1, height=size, width=size)[None]
    models: Models = {}
    detector = ready_detector("yolov5n-akconv")
    published, AKConv.forward = AKConv.forward, naive_forward  # type: ignore[method-assign]
    try:
        onnx_from_detector(detector, folder / "naive.onnx", preprocess=preprocess, candidates=3840, opset=19)
    finally:
        AKConv.forward = published  # type: ignore[method-assign]
    models["naive"] = ((folder / "naive.onnx").read_bytes(), None)
    for form in BODIES:
        path = folder / f"{form}.onnx"
        onnx_from_detector(detector, path, preprocess=preprocess, candidates=3840, opset=19)
        lower_ops(path, canvas, form=form)
        models[form] = (path.read_bytes(), None)
    models["native"] = (models["deform_conv"][0], library)
    plain = ready_detector("yolov5n")
    onnx_from_detector(plain, folder / "plain.onnx", preprocess=preprocess, candidates=3840, opset=19)
    models["plain"] = ((folder / "plain.onnx").read_bytes(), None)
    return models, canvas


def bench_network(library: Path, *, size: int, threads: list[int], rounds: int) -> dict[str, Any]:
    """Whole networks, canvas in and candidates out."""
    result: dict[str, Any] = {"ms": {}}
    with tempfile.TemporaryDirectory() as name:
        models, canvas = network_models(size, library, Path(name))
        inputs = {"canvases": canvas}
        for count in threads:
            spent = times_of(models, inputs, threads=count, rounds=rounds)
            result["ms"][count] = {form: _summary(values) for form, values in spent.items()}
            ratios = {
                form: np.percentile(spent["naive"] / values, (50, 25, 75)) for form, values in spent.items()
            }
            to_plain = np.percentile(spent["native"] / spent["plain"], (50, 25, 75))
            print(f"network at {size} px, {count} thread(s)")
            for form, (median, low, high) in ratios.items():
                ms = result["ms"][count][form]
                print(
                    f"  {form:<12} {ms[0]:7.1f} ms ({ms[1]:.1f}..{ms[2]:.1f})   "
                    f"{median:.2f} times naive ({low:.2f}..{high:.2f})"
                )
            median, low, high = to_plain
            print(f"  native takes {median:.3f} times as long as plain ({low:.3f}..{high:.3f})")
        result["peak_mb"] = peaks_of(models, inputs, Path(name))
        print("  peak MB: " + "  ".join(f"{form} {peak:.0f}" for form, peak in result["peak_mb"].items()))
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--library", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak, arguments.library)
        return
    library = build_library().path
    ceiling = matrix_ceiling()
    print(f"matrix product, 1 thread: {ceiling:.0f} GFLOP/s")
    layers = bench_layers(library, threads=arguments.threads, rounds=arguments.rounds)
    for count in arguments.threads:
        gains = [row["ms"][count]["naive"][0] / row["ms"][count]["native"][0] for row in layers.values()]
        mean = math.exp(sum(map(math.log, gains)) / len(gains))
        done = sum(row["gflop"] for row in layers.values())
        spent = sum(row["ms"][count]["native"][0] for row in layers.values())
        share = 100 * done / spent * 1e3 / ceiling / count
        print(
            f"{count} thread(s): native {mean:.1f} times naive (geometric mean over layers, "
            f"{min(gains):.1f} to {max(gains):.1f}); "
            f"{share:.0f} % of the matrix product's speed over all layers"
        )
    shares = [row["peak_mb"]["native"] / row["peak_mb"]["naive"] for row in layers.values()]
    print(f"peak memory of a layer, native over naive: {min(shares):.3f} to {max(shares):.3f}")
    network = bench_network(library, size=arguments.size, threads=arguments.threads, rounds=arguments.rounds)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"ceiling": ceiling, "layers": layers, "network": network}, indent=1)
        )


if __name__ == "__main__":
    main()
