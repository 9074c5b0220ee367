"""The wheel holds the product alone, and with the extra [cpu] it runs a bundle without torch and onnx."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the working tree without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_only_tercelet(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tercelet", next(top for top in tops if top.endswith(".dist-info"))}
    assert {name.split("/")[1] for name in names if name.startswith("tercelet/")} == {
        "contract", "runtime", "ops", "export", "evaluation", "training",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".so", ".onnx", ".pt", ".safetensors", ".jpg"))]
    assert sum(name.endswith("py.typed") for name in names) == 6


def requirements_of(wheel: Path, extra: str) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    found = [
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in lines
        if line.startswith("Requires-Dist")
    ]
    return [item for item in found if item.marker is None or item.marker.evaluate({"extra": extra})]


def closure(requirements: list[Requirement]) -> dict[str, Distribution]:
    """The installed distributions that the requirements pull in, by their own statements."""
    found: dict[str, Distribution] = {}
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found[name] = distribution(name)
        for text in found[name].requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed)
    return found


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install tercelet[cpu]` would put on an empty device, linked from here."""
    site = tmp_path_factory.mktemp("device")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for dist in closure(requirements_of(wheel, "cpu")).values():
        for top in {file.parts[0] for file in dist.files or () if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(dist.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return site


def run_on(device: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python that sees `device` and the standard library, nothing of this environment."""
    code = f"import sys; sys.path.append({str(device)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code + arguments[0], *arguments[1:]],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_device_has_neither_torch_nor_onnx_nor_cv2(device: Path) -> None:
    names = {p.name for p in device.iterdir()}
    assert {"numpy", "onnxruntime", "tercelet"} <= names
    assert not {"torch", "onnx", "cv2", "safetensors"} & names


def test_the_wheel_with_cpu_runs_a_bundle(device: Path, tiny_bundle: Path) -> None:
    done = run_on(
        device,
        "import numpy\n"
        "from tercelet.runtime import open_pipeline\n"
        "with open_pipeline(sys.argv[1], score_threshold=0.0) as detect:\n"
        "    found = detect(numpy.full((48, 80, 3), 90, numpy.uint8))\n"
        "assert len(found) > 0\n"
        "print(sorted({'torch', 'onnx', 'cv2', 'safetensors'} & set(sys.modules)))",
        str(tiny_bundle),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "needs pip install 'tercelet[export]'"),
        (["export", "x"], 3, "pip install 'tercelet[export]'"),
        (["import", "x", "--detector", "yolov5n"], 3, "pip install 'tercelet[train]'"),
    ],
)
def test_verbs_of_missing_extras_say_what_to_install(
    device: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run_on(
        device, "from tercelet.runtime.command_line import main; sys.exit(main(sys.argv[1:]))", *arguments
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
