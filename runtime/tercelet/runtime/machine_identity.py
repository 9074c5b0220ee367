"""Which machine and which software a figure belongs to; never whose: no host name, no user, no path."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tercelet.runtime.backends.onnxruntime import installed_distributions

ROOT = Path("/")


@dataclass(frozen=True)
class Machine:
    """cores_usable: what this process may use (affinity, container quota). memory_bytes: of the machine."""

    cpu: str
    board: str | None
    cores: int
    cores_usable: int
    memory_bytes: int | None
    os: str
    architecture: str
    python: str
    numpy: str
    engine: str | None
    tercelet: str


def identify_machine(root: Path = ROOT) -> Machine:
    """Describe the machine this runs on. root: where its /proc, /sys and /etc lie."""
    engines = [f"{name} {number}" for name, number in installed_distributions().items()]
    return Machine(
        cpu=_cpu_model(root),
        board=_board(root),
        cores=os.cpu_count() or 1,
        cores_usable=usable_cores(root),
        memory_bytes=memory_bytes("MemTotal", root),
        os=_operating_system(root),
        architecture=platform.machine(),
        python=platform.python_version(),
        numpy=version("numpy"),
        engine=", ".join(engines) or None,
        tercelet=_own_version(),
    )


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may use: its affinity, cut by the quota of a container; at least 1."""
    cores = affinity_cores()
    quota = core_quota(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def affinity_cores() -> int:
    """Cores that the scheduler may put this process on."""
    # Not on macOS and Windows, where any core will do.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def core_quota(root: Path = ROOT) -> float | None:
    """Cores that a container's quota (cgroup v2) is worth; None without one."""
    words = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
        return int(words[0]) / int(words[1])
    return None


def memory_bytes(key: str, root: Path = ROOT) -> int | None:
    """A line of /proc/meminfo in bytes, such as MemTotal or MemAvailable; None where there is none."""
    found = re.search(rf"^{re.escape(key)}:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _cpu_model(root: Path) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown"


def _board(root: Path) -> str | None:
    """The name of a board computer ("NVIDIA Jetson Orin Nano ..."), which its CPU model does not tell."""
    return _text(root / "proc/device-tree/model").strip("\0\n ") or None


def _operating_system(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release"), re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()}"
    return f"{found[1]}, {kernel}" if found else kernel


def _own_version() -> str:
    try:
        return version("tercelet")
    except PackageNotFoundError:
        return "not installed"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
