"""The machine: GPU driver, free memory and disk, and who takes how many threads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tercelet.runtime.checks.environment import Environment, Finding
from tercelet.runtime.machine_identity import affinity_cores, core_quota, memory_bytes, usable_cores

_MIB = 1 << 20
# A small detector takes about 170 MB with everything around it; exporting one takes about a gigabyte.
LEAST_MEMORY, LITTLE_MEMORY = 256 * _MIB, 1024 * _MIB
# A bundle is 4 to 250 MB.
LEAST_DISK, LITTLE_DISK = 64 * _MIB, 1024 * _MIB
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_cuda(environment: Environment) -> Finding:
    """The CUDA driver, where there is one, starts."""
    outcome = environment.run_trial("query_cuda")
    wants_gpu = environment.distribution_version("onnxruntime-gpu") is not None
    remedy = "see whether nvidia-smi works; a container needs the NVIDIA runtime (--gpus all)"
    if outcome.code:
        return Finding("warning", f"the NVIDIA driver is there and does not start: {outcome.reason}", remedy)
    found = outcome.output.strip()
    if found != "absent":
        return Finding("ok", found)
    if wants_gpu:
        return Finding("warning", "no NVIDIA driver, but onnxruntime-gpu is installed", remedy)
    return Finding("ok", "no NVIDIA driver; bundles run on the CPU")


def check_memory(environment: Environment) -> Finding:
    """Enough memory is free."""
    free = _free_memory(environment.root)
    if free is None:
        return Finding("ok", "this system does not say how much memory is free")
    found = f"{free // _MIB} MiB free"
    if free < LEAST_MEMORY:
        return Finding(
            "problem", found, f"end other programs: at least {LEAST_MEMORY // _MIB} MiB are needed"
        )
    if free < LITTLE_MEMORY:
        return Finding(
            "warning", f"{found}: enough to run a bundle, hardly to export one", "export on a larger machine"
        )
    return Finding("ok", found)


def _free_memory(root: Path) -> int | None:
    """MemAvailable, cut by what a container's limit (cgroup v2) leaves."""
    available = memory_bytes("MemAvailable", root)
    limits = []
    for name in ("memory.max", "memory.current"):
        try:
            limits.append(int((root / "sys/fs/cgroup" / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no cgroup here, or "max": no limit
            return available
    left = max(limits[0] - limits[1], 0)
    return left if available is None else min(left, available)


def check_disk(environment: Environment) -> Finding:
    """Temporary files can be written, and there is room for them and in the working folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=environment.scratch) as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        return Finding(
            "problem",
            f"temporary files cannot be written to {environment.scratch}: {error.strerror or error}",
            "set TMPDIR to a folder that can be written to",
        )
    folders = {"temporary files": environment.scratch, "working folder": Path.cwd()}
    free = {name: environment.disk_free(folder) for name, folder in folders.items()}
    found = ", ".join(f"{amount // _MIB} MiB free for {name}" for name, amount in free.items())
    if min(free.values()) < LEAST_DISK:
        return Finding("problem", found, f"make room: at least {LEAST_DISK // _MIB} MiB are needed")
    if min(free.values()) < LITTLE_DISK:
        return Finding("warning", found, "make room, or set TMPDIR and -o to another disk")
    return Finding("ok", found)


def check_threads(environment: Environment) -> Finding:
    """No variable and no quota makes more threads than there are cores for."""
    cores, affinity = usable_cores(environment.root), affinity_cores()
    for name in THREAD_VARIABLES:
        value = environment.variables.get(name, "")
        if value.isdigit() and int(value) > cores:
            return Finding(
                "warning",
                f"{name}={value}, and {cores} cores are usable: threads get in each other's way",
                f"unset {name}, or set it to {cores}",
            )
    if environment.variables.get("OMP_WAIT_POLICY", "").lower() == "active":
        return Finding(
            "warning",
            "OMP_WAIT_POLICY=active: idle threads burn their core",
            "export OMP_WAIT_POLICY=passive",
        )
    if cores < affinity:
        return Finding(
            "warning",
            f"a quota allows {core_quota(environment.root):g} cores, engines start {affinity} threads",
            f"give --threads {cores} to tercelet run and benchmark",
        )
    return Finding("ok", f"{cores} of {os.cpu_count()} cores usable, no variable asks for more threads")
