"""Build the native libraries of the op kit on this machine, with its own compiler.

A library is kept in a cache under a key of everything that made it: sources, specifications, compiler,
options. Needs numpy alone, so that it also works on the device.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.ops.bindings.cpp_from_spec import BINDINGS_FOLDER, OPS_FOLDER, write_headers

Backend = Literal["onnxruntime", "cuda", "tensorrt"]
BACKENDS: tuple[Backend, ...] = ("onnxruntime", "cuda", "tensorrt")
_OPTIONS: Mapping[Backend, Mapping[str, str]] = {
    "onnxruntime": {},
    "cuda": {"TERCELET_CUDA": "ON"},
    "tensorrt": {"TERCELET_TENSORRT": "ON"},
}
# Variables that CMake and compilers obey without being told.
_OBEYED = ("CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDAFLAGS", "CPATH", "CPLUS_INCLUDE_PATH")
_SOURCES = (".cc", ".cu", ".h", ".txt")
_TIMEOUT_S = 1200


@dataclass(frozen=True)
class NativeLibrary:
    """A built library. was_cached: it lay in the cache already."""

    backend: Backend
    path: Path
    was_cached: bool


def cache_folder() -> Path:
    """Where built libraries are kept: $TERCELET_CACHE, or tercelet in the user's cache folder."""
    given = os.environ.get("TERCELET_CACHE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tercelet"


def build_library(
    backend: Backend = "onnxruntime",
    *,
    options: Mapping[str, str] | None = None,
    cache: Path | None = None,
    report: Callable[[str], object] | None = None,
) -> NativeLibrary:
    """The library of a backend, built if the cache does not hold it.

    options: further CMake cache entries, such as TERCELET_SANITIZE or CMAKE_CXX_COMPILER. cache: None takes
    `cache_folder()`. report: is given a line before a build starts. Raises MissingDependencyError where
    CMake, compiler, toolkit or headers are missing, CheckFailedError where the compiler fails.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    _check_tools(backend)
    entries = _entries(backend, options or {})
    folder = (cache or cache_folder()) / "ops" / _key(backend, entries)
    path = folder / f"libtercelet_ops_{backend}.so"
    if path.is_file():
        return NativeLibrary(backend, path, was_cached=True)
    if report:
        report(f"building the native ops for {backend}; this is done once")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as scratch:
            built = _build(backend, entries, Path(scratch))
            folder.mkdir(exist_ok=True)
            built.replace(path)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written: {error}; name another folder in TERCELET_CACHE"
        ) from error
    return NativeLibrary(backend, path, was_cached=False)


def cached_library(backend: Backend = "onnxruntime") -> Path | None:
    """The library that `build_library` would give without building; None if that would build one, or fail."""
    try:
        _check_tools(backend)
    except MissingDependencyError:
        return None
    path = cache_folder() / "ops" / _key(backend, _entries(backend, {})) / f"libtercelet_ops_{backend}.so"
    return path if path.is_file() else None


def _entries(backend: Backend, options: Mapping[str, str]) -> list[str]:
    """What CMake is told: the backend, the compiler that the key is of, and the GPUs of this machine."""
    given = {"CMAKE_CXX_COMPILER": _compiler() or "c++", **_OPTIONS[backend], **options}
    if backend != "onnxruntime":
        given.setdefault("TERCELET_CUDA_ARCHITECTURES", _gpu_architectures())
    return [f"-D{name}={value}" for name, value in sorted(given.items())]


def _gpu_architectures() -> str:
    """Compute capability of the first GPU, such as "87"; 87 and 90 where there is none to ask."""
    usual, number, device = "87;90", ctypes.c_int(), ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return usual
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return usual
    capability = ""
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return usual
        capability += str(number.value)
    return capability


def _build(backend: Backend, entries: list[str], scratch: Path) -> Path:
    write_headers(scratch / "generated")
    target = f"tercelet_ops_{backend}"
    build = scratch / "build"
    configure = [
        "cmake",
        "-S",
        str(BINDINGS_FOLDER),
        "-B",
        str(build),
        f"-DTERCELET_GENERATED={scratch}/generated",
    ]
    _run([*configure, *entries], "CMake does not configure the native ops")
    jobs = str(min(4, os.cpu_count() or 1))
    _run(["cmake", "--build", str(build), "--target", target, "-j", jobs], "the native ops do not compile")
    return build / f"lib{target}.so"


def _run(command: list[str], failure: str) -> None:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=_TIMEOUT_S)
    except BaseException as error:  # Ctrl-C too must end the compilers that CMake started; re-raised
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CheckFailedError(f"{failure}: no end within {_TIMEOUT_S} s") from error
        raise
    if process.returncode:
        raise CheckFailedError(f"{failure}: {_first_error(errors) or _first_error(out) or 'no message'}")


def _first_error(text: str) -> str:
    """The first line that speaks of an error, and what is indented below it; the last line if none does."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if "error" in line.lower()), None)
    if start is None:
        return lines[-1].strip()[:400] if lines else ""
    end = start + 1
    while end < len(lines) and lines[end].startswith(" "):
        end += 1
    return " ".join(" ".join(lines[start:end]).split())[:400]


def _check_tools(backend: Backend) -> None:
    if shutil.which("cmake") is None:
        raise MissingDependencyError(
            "building native ops needs CMake: apt install cmake, or pip install cmake"
        )
    if _compiler() is None:
        raise MissingDependencyError("building native ops needs a C++17 compiler: apt install g++")
    if backend != "onnxruntime" and shutil.which(os.environ.get("CUDACXX", "nvcc")) is None:
        raise MissingDependencyError(
            f"building the ops for {backend} needs nvcc on PATH: install the CUDA toolkit (part of JetPack)"
        )
    if backend == "tensorrt" and tensorrt_headers() is None:
        raise MissingDependencyError(
            "building the TensorRT plugin needs TensorRT's headers: set TENSORRT_INCLUDE to the folder of "
            "NvInferRuntime.h (JetPack has them in /usr/include/aarch64-linux-gnu)"
        )


def tensorrt_headers() -> Path | None:
    """The folder that holds NvInferRuntime.h; None if there is none."""
    given = os.environ.get("TENSORRT_INCLUDE")
    usual = [f"/usr/include/{platform.machine()}-linux-gnu", "/usr/include", "/usr/local/tensorrt/include"]
    folders = [Path(folder) for folder in ([given] if given else usual)]
    return next((folder for folder in folders if (folder / "NvInferRuntime.h").is_file()), None)


def _compiler() -> str | None:
    # A wrapper before the compiler, as in "ccache g++", is left out.
    named = os.environ.get("CXX", "").split()[-1:]
    names = tuple(named) if named else ("g++", "c++", "clang++")
    return next((path for name in names if (path := shutil.which(name))), None)


def _key(backend: Backend, entries: list[str]) -> str:
    digest = hashlib.sha256(f"{backend} {entries} {platform.machine()} {platform.system()}".encode())
    for path in sorted(OPS_FOLDER.rglob("*")):
        if path.suffix in _SOURCES or path.name in ("spec.py", "cpp_from_spec.py"):
            digest.update(path.relative_to(OPS_FOLDER).as_posix().encode() + path.read_bytes())
    digest.update(repr([os.environ.get(name) for name in _OBEYED]).encode())
    digest.update(_version(_compiler() or "g++"))
    if backend != "onnxruntime":
        digest.update(_version(os.environ.get("CUDACXX", "nvcc")))
    headers = tensorrt_headers() if backend == "tensorrt" else None
    if headers is not None:
        digest.update(str(headers).encode() + (headers / "NvInferVersion.h").read_bytes())
    return digest.hexdigest()[:16]


def _version(program: str) -> bytes:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout
