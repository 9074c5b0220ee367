"""The facts that checks rest on, in one place, so that a test can plant a fault and run the real check."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warning", "problem"]
TIMEOUT_S = 120
# An entry "" would let a file of the working folder stand in for a package.
_SAFE_PATH = "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "


@dataclass(frozen=True)
class Finding:
    """What a check found, in one line, and what to do about it; no remedy where nothing need be done."""

    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: exit code (negative: killed by that signal), and what it said."""

    code: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last thing that a failed program said, or how it died."""
        if self.code < 0:
            try:
                return f"killed by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"killed by signal {-self.code}"
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return lines[-1][:200] if lines else f"exit code {self.code}"


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Environment:
    """python: its version. executable: the interpreter that checks start. search_path: where installed
    distributions and modules are looked for. variables: of the programs that checks start. root: where /proc
    and /sys lie. scratch: a folder for temporary files. disk_free: bytes free where a folder lies."""

    python: tuple[int, ...] = tuple(sys.version_info[:3])
    executable: str = sys.executable
    search_path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = Path("/")
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    disk_free: Callable[[Path], int] = _free_bytes

    def distribution_version(self, name: str) -> str | None:
        """The version of an installed distribution, None if it is not installed."""
        found = importlib.metadata.distributions(name=name, path=list(self.search_path))
        return next((item.version for item in found), None)

    def entry_points(self, group: str) -> dict[str, importlib.metadata.EntryPoint]:
        """The entry points of a group by name, the first of each name."""
        points: dict[str, importlib.metadata.EntryPoint] = {}
        for item in importlib.metadata.distributions(path=list(self.search_path)):
            for point in item.entry_points:
                if point.group == group:
                    points.setdefault(point.name, point)
        return points

    def is_importable(self, module: str) -> bool:
        """Whether a top-level module or package is there; it is not imported."""
        return importlib.machinery.PathFinder.find_spec(module, self.search_path) is not None

    def which(self, program: str) -> str | None:
        """The path of a program on PATH."""
        return shutil.which(program, path=self.variables.get("PATH", os.defpath))

    def run(self, command: Sequence[str]) -> Outcome:
        """Run a program to its end, without input, for TIMEOUT_S at most; never raises."""
        try:
            done = subprocess.run(
                command,
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(124, "", f"no end within {TIMEOUT_S} s")
        except OSError as error:
            return Outcome(127, "", str(error))
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run_python(self, program: str, *words: str) -> Outcome:
        """Run a program text in a fresh interpreter, where a crash takes nobody else along."""
        return self.run([self.executable, "-c", _SAFE_PATH + program, *words])

    def run_trial(self, name: str, *words: str) -> Outcome:
        """Run a function of trials.py in a fresh interpreter; what it prints is the output."""
        program = f"from tercelet.runtime.checks import trials; print(trials.{name}(*sys.argv[1:]))"
        return self.run_python(program, *words)
