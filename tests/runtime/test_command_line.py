"""The command: quick, one line for an error, exit codes that mean something."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tercelet.runtime.command_line import main


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["help"], 0)])
def test_without_a_verb_the_verbs_are_listed(
    arguments: Sequence[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out = capsys.readouterr().out
    for verb in (
        "synth",
        "prepare",
        "train",
        "import",
        "export",
        "run",
        "evaluate",
        "benchmark",
        "compare",
        "inspect",
        "doctor",
        "demo",
    ):
        assert f"\n  {verb} " in out


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("tercelet")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "unknown verb 'fly'; expected one of synth, prepare, train, import, export, build-ops"),
        (["run"], "the following arguments are required: bundle, SOURCE; see tercelet run --help"),
        (["run", "a", "b", "--threads", "two"], "argument --threads: invalid int value: 'two'"),
        (["export", "a", "--opset", "18", "--sideways"], "unrecognized arguments: --sideways"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(
    arguments: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1


def write_package(folder: Path, entry: str, body: str) -> None:
    """A distribution that announces a verb."""
    (folder / "other.py").write_text(body)
    info = folder / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tercelet.commands]\n{entry}\n")


def tercelet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tercelet.runtime.command_line import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


FLY = """
SUMMARY = "fly away"
REQUIRES = ()
def add_arguments(parser): parser.add_argument("where")
def execute(arguments):
    if arguments.where == "home": raise KeyboardInterrupt
    if arguments.where == "pipe": raise BrokenPipeError
    print("to", arguments.where)
    return 0
"""


def test_another_package_can_add_a_verb(tmp_path: Path) -> None:
    write_package(tmp_path, "fly = other", FLY)
    assert "fly           fly away" in tercelet(tmp_path, "--help").stdout
    assert tercelet(tmp_path, "fly", "south").stdout == "to south\n"
    assert "usage: tercelet fly" in tercelet(tmp_path, "fly", "--help").stdout
    interrupted = tercelet(tmp_path, "fly", "home")
    assert (interrupted.returncode, interrupted.stderr) == (130, "tercelet: interrupted\n")
    assert tercelet(tmp_path, "fly", "pipe").returncode == 0


def test_a_broken_verb_of_another_package_does_not_take_the_others_down(tmp_path: Path) -> None:
    write_package(tmp_path, "fly = other", "import no_such_module")
    done = tercelet(tmp_path, "--help")
    assert done.returncode == 0
    assert "fly           [cannot be loaded: No module named 'no_such_module']" in done.stdout
    assert "run           find objects" in done.stdout


def test_help_imports_neither_numpy_heavy_engines_nor_torch() -> None:
    code = (
        "import sys\nfrom tercelet.runtime.command_line import main\nmain(['--help'])\n"
        "print(sorted({'torch', 'onnx', 'cv2', 'onnxruntime', 'faster_coco_eval'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
