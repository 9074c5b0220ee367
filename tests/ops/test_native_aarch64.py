"""The native ops for a Jetson or a Raspberry Pi: cross-compiled, made of NEON, and right under qemu."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_ops import require_tools, run

from tercelet.ops import OPS

COMPILER = "aarch64-linux-gnu-g++"
ENTRIES = {
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_SYSTEM_PROCESSOR": "aarch64",
    "CMAKE_CXX_COMPILER": COMPILER,
    "TERCELET_FUZZ": "ON",
}
SECONDS = 4
# The register tile of cpu.cc has 24 sums, and the loop over them is unrolled.
FEWEST_MULTIPLICATIONS = 24


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, native_build) -> Path:  # type: ignore[no-untyped-def]
    """The folder of the library and the fuzzer for aarch64, every warning an error."""
    require_tools(COMPILER)
    return native_build(
        tmp_path_factory.mktemp("aarch64"), ["tercelet_ops_onnxruntime", "tercelet_ops_fuzz"], ENTRIES
    )


def test_the_library_is_for_aarch64_and_offers_what_the_engine_looks_for(built: Path) -> None:
    require_tools("aarch64-linux-gnu-readelf")
    library = built / "libtercelet_ops_onnxruntime.so"
    header = run(["aarch64-linux-gnu-readelf", "--file-header", library])
    assert re.search(r"Machine:\s+AArch64", header)
    symbols = run(["aarch64-linux-gnu-readelf", "--dyn-syms", "--wide", library])
    defined = re.findall(r"GLOBAL DEFAULT +\d+ (\w+)", symbols)
    assert "RegisterCustomOps" in defined


def test_the_multiplication_is_neon(built: Path) -> None:
    require_tools("aarch64-linux-gnu-objdump")
    # The library is stripped; the object file that goes into it still has names.
    objects = list(built.rglob("akconv/cpu.cc.o"))
    assert len(objects) == 1
    code = run(["aarch64-linux-gnu-objdump", "--disassemble", "--demangle", objects[0]])
    functions = dict(re.findall(r"^\w+ <(.+?)>:\n((?:.+\n)*)", code, re.MULTILINE))
    # GCC may have put the functions that it calls into a function of their own.
    ours = {name: text for name, text in functions.items() if "::plain::" in name}
    assert any("run_rows" in name for name in ours), list(functions)
    multiplications = re.findall(r"\bfmla\s+v\d+\.4s, v\d+\.4s, v\d+\.", "".join(ours.values()))
    assert len(multiplications) >= FEWEST_MULTIPLICATIONS


def test_both_forms_of_every_op_agree_on_aarch64(built: Path) -> None:
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    root = Path("/usr/aarch64-linux-gnu")
    if qemu is None or not root.is_dir():
        pytest.skip("needs qemu-aarch64-static (apt install qemu-user-static) and the libraries of aarch64")
    command = [qemu, "-L", root, built / "tercelet_ops_fuzz", "11", str(1 << 62), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for spec in OPS.values():
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{spec.name}:"))
        counts = dict(re.findall(r"(\w+) (\d+)(?= |$)", line))
        assert int(counts["ran"]) > 0, line
        assert not spec.has_fast_cpu or int(counts["compared"]) > 0, line
