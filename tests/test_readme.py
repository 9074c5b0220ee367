"""Every command and every line of Python in the README runs, in a folder such as a reader would have."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from akconv_weights import akconv_state_from_yolov5
from clips import numbered_frame
from conftest import SHARED
from networks import lively_detector

from tercelet.contract.scenes import synthetic_frame
from tercelet.evaluation import synth_aerial
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import VideoWriter, write_image
from tercelet.training import build, read_weights

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[str]:
    return iter(re.findall(rf"```{language}\n(.*?)```", README, flags=re.S))


FRAMES = 5
HAS_COMPILER = bool(shutil.which("cmake") and shutil.which("g++"))
ROOMS = ("boxes.jsonl", "rooms-drawn")
TRAINED = ("scenes-checkpoint/CARD.md", "tuned-checkpoint/predictions.png", "plots/confusion.png")
AERIAL = ("aerial.jsonl", "aerial/flight.mp4", "plans/recall_cost.svg", "prepared", "drone/flight.mp4")
COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def fill(folder: Path) -> None:
    """The files that the README speaks of: the real ones where they are at hand."""
    real = SHARED / "data"
    if real.is_dir():
        shutil.copy(real / "weights" / "yolov5n_v6.1-v7.0_official.pt", folder / "yolov5n.pt")
        state = read_weights(folder / "yolov5n.pt").state
        torch.save({"model": akconv_state_from_yolov5(state)}, folder / "akconv.pt")
        shutil.copy(real / "weights" / "votenet_sunrgbd_v2_keras.h5", folder / "votenet.h5")
        shutil.copy(real / "coco" / "bus.jpg", folder / "bus.jpg")
        shutil.copytree(real / "coco" / "coco8", folder / "coco8")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    else:
        torch.save({"model": lively_detector("yolov5n").state_dict()}, folder / "yolov5n.pt")
        akconv = lively_detector("yolov5n-akconv-official")
        torch.save({"model": akconv.state_dict()}, folder / "akconv.pt")
        torch.save({"state_dict": build("votenet").state_dict()}, folder / "votenet.h5")
        write_image(folder / "bus.jpg", synthetic_frame(0, height=540, width=405))
        for part in ("images", "labels"):
            (folder / "coco8" / part / "val").mkdir(parents=True)
        write_image(folder / "coco8" / "images" / "val" / "0.jpg", synthetic_frame(1, height=200, width=300))
        (folder / "coco8" / "labels" / "val" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    visdrone = synth_aerial(folder / "visdrone", count=2, size="640x480", quiet=True)
    assert visdrone.frames == 2
    (folder / "coco-visdrone.json").write_text('{"car": ["car", "van"], "person": ["pedestrian", "people"]}')
    with VideoWriter(folder / "flight.mp4", height=96, width=144, fps=25.0) as video:
        for number in range(FRAMES):
            video.write(numbered_frame(number))


def test_the_readme_shows_the_commands_that_matter() -> None:
    shown = "\n".join(COMMANDS)
    assert COMMANDS[:2] == ["make demo", "make test"]
    for verb in (
        "import",
        "export",
        "build-ops",
        "run",
        "evaluate",
        "benchmark",
        "compare",
        "inspect",
        "doctor",
        "bundle-aerial",
        "prepare visdrone",
        "synth aerial",
        "synth rooms",
        "train",
    ):
        assert f"tercelet {verb}" in shown


def test_every_tercelet_command_and_the_python_of_the_readme_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    for line in COMMANDS:
        program, *arguments = line.split()
        if program == "tercelet":
            # doctor may rightly find fault with the machine: 3, but never wrong use.
            may_lack = arguments == ["doctor"] or (arguments[0] == "build-ops" and not HAS_COMPILER)
            allowed = (0, 3) if may_lack else (0,)
            assert main(arguments) in allowed, f"{line}\n{capsys.readouterr().err}"
    for name in (
        "found.jsonl",
        "pictures/bus.jpg",
        "flight.jsonl",
        "drawn/flight.mp4",
        "wide-bundle",
        *AERIAL,
        *TRAINED,
        *ROOMS,
    ):
        assert Path(name).exists()
    assert all(Path(name).exists() for name in AERIAL)
    assert len(Path("flight.jsonl").read_text().splitlines()) == FRAMES
    capsys.readouterr()
    (code,) = blocks("python")
    assert len(code.strip().splitlines()) == 8
    exec(compile(code, "README.md", "exec"), {})
    assert "infer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("make demo", "DEMO_ARGS=--quick --output {place}/demo"),
        ("make test", "TEST_ARGS={root}/tests/contract/test_labels_and_detections.py"),
    ],
)
def test_both_make_commands_run(tmp_path: Path, command: str, settings: str) -> None:
    environment = Path(sys.executable).parents[1]
    stamp = environment / ".installed"
    if environment.parent != ROOT or not stamp.exists():
        pytest.skip("this environment was not made by this checkout's Makefile, which would now make another")
    assert command in COMMANDS
    done = subprocess.run(
        # -o: the stamp counts as new, nothing is installed by a test.
        [
            *command.split(),
            "-o",
            str(stamp),
            f"VENV={environment}",
            settings.format(place=tmp_path, root=ROOT),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command == "make demo":
        assert list((tmp_path / "demo" / "pictures").iterdir())
        assert "benchmark  p50" in done.stdout
