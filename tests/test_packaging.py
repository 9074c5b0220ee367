"""The wheel holds the product alone, and with the extra [cpu] it runs a bundle without torch and onnx."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tercelet.contract.artefact import read_manifest

ROOT = Path(__file__).resolve().parents[1]
# What the demo shows without torch, and what it exports with it: all that a wheel holds besides text.
DEMO_FILES = (
    "runtime/demo_bundle/model.onnx",
    "runtime/demo_bundle/golden.npy",
    "runtime/demo_bundle/density/model.onnx",
    "runtime/demo_bundle/density/golden.npy",
    "training/demo_weights/detector/weights.safetensors",
    "training/demo_weights/density/weights.safetensors",
)
DEMO_TEXTS = (
    "runtime/demo_bundle/manifest.json",
    "training/demo_weights/detector/manifest.json",
    "training/demo_weights/detector/CARD.md",
    "training/demo_weights/detector/class_map.json",
    "training/demo_weights/density/manifest.json",
    "training/demo_weights/density/CARD.md",
)
# Of both checkpoints together: what the repository may spend on them.
LARGEST_WEIGHTS = 8_000_000


def source_of(name: str, root: Path = ROOT) -> Path:
    """Where a file of the package lies in a checkout."""
    return root / name.split("/")[0] / "tercelet" / name


def is_there(name: str) -> bool:
    return source_of(name).is_file()


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
    binaries = {
        name for name in names if name.endswith((".so", ".onnx", ".pt", ".safetensors", ".jpg", ".npy"))
    }
    assert binaries == {f"tercelet/{name}" for name in DEMO_FILES if is_there(name)}
    assert sum(name.endswith("py.typed") for name in names) == 6


def build_wheel(root: Path, folder: Path) -> set[str]:
    """The names in the wheel that is built of a checkout without the network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=root,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return set(archive.namelist())


def test_weights_that_lie_in_their_places_travel_in_the_wheel_and_others_do_not(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        root.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for part in ("runtime", "export", "training"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "demo_*s"))
    strays = ("runtime/stray.onnx", "training/stray.safetensors", "training/stray.pt")
    for name in (*DEMO_FILES, *DEMO_TEXTS, *strays):
        place = source_of(name, root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"numbers")
    names = build_wheel(root, tmp_path / "dist")
    assert {f"tercelet/{name}" for name in (*DEMO_FILES, *DEMO_TEXTS)} <= names
    assert not {f"tercelet/{name}" for name in strays} & names


def test_the_weights_of_the_demo_are_small_enough_and_carry_their_licence(wheel: Path) -> None:
    if not is_there(DEMO_TEXTS[1]):
        pytest.skip("needs the weights of the demo, which this checkout has not got")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {item.filename.removeprefix("tercelet/"): item.file_size for item in archive.infolist()}
    assert set(DEMO_FILES + DEMO_TEXTS) <= set(sizes)
    assert sum(size for name, size in sizes.items() if name.endswith(".safetensors")) <= LARGEST_WEIGHTS
    for name in ("detector", "density"):
        manifest = read_manifest(source_of(f"training/demo_weights/{name}"))
        assert (manifest.stored, manifest.provenance.licence) == ("fp16", "Apache-2.0")
    assert read_manifest(source_of("runtime/demo_bundle")).stored == "fp16"


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
    return installed(wheel, tmp_path_factory.mktemp("device"), "cpu")


def installed(wheel: Path, site: Path, *extras: str) -> Path:
    """The folder with the wheel and what its extras pull in."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    wanted = [item for extra in extras for item in requirements_of(wheel, extra)]
    for dist in closure(wanted).values():
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
        (["demo"], 3, "pip install 'tercelet[vision]'"),
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


def test_with_cpu_and_vision_the_demo_shows_detections_or_says_that_it_has_no_weights(
    wheel: Path, tmp_path: Path
) -> None:
    site = installed(wheel, tmp_path / "site", "cpu", "vision")
    assert not {"torch", "onnx", "safetensors", "faster_coco_eval"} & {p.name for p in site.iterdir()}
    done = run_on(
        site,
        "from tercelet.runtime.command_line import main; sys.exit(main(sys.argv[1:]))",
        "demo", "--quick", "-o", str(tmp_path / "demo"), "--json", str(tmp_path / "figures.json"),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if not is_there(DEMO_TEXTS[0]):
        assert done.returncode == 3, done.stderr
        assert "this copy came without them" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["exported"] is False
    plans = figures["plans"]
    assert plans["canvas"]["scenes"]["detections"] > plans["full"]["scenes"]["detections"] > 0
    assert plans["canvas"]["flight"]["detections"] > 0
