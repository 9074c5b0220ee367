"""Kernels fed with anything, under AddressSanitizer and UBSan: nothing out of bounds, and one result for all
forms of an op."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from native_ops import NATIVE

from tercelet.export.op_support import simd_variants
from tercelet.ops import OPS

SECONDS = 20
SECONDS_SLOW = 300
# Shared by all ops; the planted faults are found in a tenth of a second.
SECONDS_PLANTED = 4
SEED, OTHER_SEED = 20240607, 7
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def fuzz(program: Path, seed: int, seconds: float, *fault: str) -> subprocess.CompletedProcess[str]:
    """Run a fuzzer for that long. fault: which of the planted ones."""
    command = [program, str(seed), str(1 << 62), str(seconds), *fault]
    environment = {**os.environ, **SANITIZERS}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def assert_sound(done: subprocess.CompletedProcess[str]) -> None:
    """No report, and something of everything happened."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "Sanitizer" not in said
    assert "runtime error" not in said
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == list(OPS)
    for spec in OPS.values():
        counts = dict(re.findall(r"(\w+) (\d+)(?= |$)", lines[spec.name].partition(":")[2]))
        happened = ["refused", "ran", "parsed", "unparsed"]
        happened += ["large", "quick", "declined", "compared"] if spec.has_fast_cpu else []
        assert {name for name in happened if int(counts[name]) == 0} == set(), lines[spec.name]


def test_kernels_stay_in_bounds_and_all_forms_agree(sanitized: Path) -> None:
    assert_sound(fuzz(sanitized / "tercelet_ops_fuzz", SEED, SECONDS))


@pytest.mark.slow
def test_kernels_stay_in_bounds_and_all_forms_agree_for_minutes(sanitized: Path) -> None:
    assert_sound(fuzz(sanitized / "tercelet_ops_fuzz", OTHER_SEED, SECONDS_SLOW))


def test_the_same_seed_does_the_same(sanitized: Path) -> None:
    command = [sanitized / "tercelet_ops_fuzz", "5", "60", "600"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == second


def test_a_buffer_that_is_one_number_short_is_caught(sanitized: Path) -> None:
    done = fuzz(sanitized / "tercelet_ops_fuzz_planted", SEED, SECONDS_PLANTED, "1")
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


def test_a_quick_form_that_is_slightly_off_is_caught(sanitized: Path) -> None:
    done = fuzz(sanitized / "tercelet_ops_fuzz_planted", SEED, SECONDS_PLANTED, "2")
    assert done.returncode == 1, done.stderr[-2000:]
    op = next(spec.name for spec in OPS.values() if spec.has_fast_cpu)
    assert re.search(
        rf"{op}: iteration seed \d+: ({'|'.join(simd_variants())}): expected .* at place 7", done.stdout
    )


def sanitizer_libraries() -> str:
    """What LD_PRELOAD needs for a sanitized library in a program that is not; the C++ library goes first into
    the process so that the sanitizer finds what throws exceptions."""
    names = ("libasan.so", "libubsan.so", "libstdc++.so.6")
    found = []
    for name in names:
        said = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        path = Path(said.stdout.strip())
        if not path.is_absolute() or not path.exists():
            pytest.skip(f"needs {name} of the compiler")
        found.append(str(path.resolve()))
    return " ".join(found)


def run_sanitized(library: Path, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python script with the sanitizers in the process."""
    environment = {
        **os.environ,
        "LD_PRELOAD": sanitizer_libraries(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python and the engine keep memory until the end
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, script, str(library), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_library_runs_clean_inside_onnx_runtime(sanitized: Path) -> None:
    library = sanitized / "libtercelet_ops_onnxruntime.so"
    assert b"__asan_report" in library.read_bytes()
    done = run_sanitized(library, NATIVE / "random_runs.py", "3", "200")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "Sanitizer" not in said
    assert "runtime error" not in said
    found = re.search(r"(\d+) cases, ran (\d+) refused (\d+)", done.stdout)
    assert found is not None, said
    assert min(map(int, found.groups())) >= 40
