"""Resident memory of this process and its high-water mark, which Linux can reset; None elsewhere."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc/self")
# Documented in proc(5): writing 5 sets the peak resident size to the present one.
_RESET_PEAK = "5"


def resident_bytes(proc: Path = PROC) -> int | None:
    """Resident memory now (VmRSS); None where the system does not say."""
    return _status_bytes("VmRSS", proc)


def peak_bytes(proc: Path = PROC) -> int | None:
    """The most that was resident since the start or the last reset (VmHWM); None where it is not known."""
    return _status_bytes("VmHWM", proc)


def reset_peak(proc: Path = PROC) -> bool:
    """Lower the high-water mark to what is resident now. False where the system does not allow it."""
    try:
        (proc / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _status_bytes(key: str, proc: Path) -> int | None:
    try:
        lines = (proc / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return None
