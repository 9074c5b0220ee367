"""The page docs/ops.md: which op runs on what, in which precision, and how close it comes to its reference.

The page is the store of what was measured. `update_page` replaces the cells that new facts speak of and keeps
the others, so that machines with other hardware add theirs. tercelet.export.op_support measures what runs on
the machine at hand.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from tercelet.contract.op_spec import OpSpec
from tercelet.ops import OPS

Kind = Literal["numpy", "torch", "body", "onnx.reference", "native", "cuda", "tensorrt"]
NOT_OFFERED = "-"
_INTRODUCTION = """# Ops and where they run

Written by `python -m tercelet.export.op_support docs/ops.md`, which measures what this machine can run and
keeps the other cells. A cell is a run of the op's case table (`cases.py` in its folder) against the op's
numpy reference.

* **exact**: the same numbers; indices are either that or wrong.
* **within 1e-6**: the largest difference is less than that times the largest value of the output.
  "n of m": how many cases of the table were run, where not all were.
* **wrong**: it misses the reference altogether.
* **not run here**: no machine that has it has added its numbers.
* **compiled, not run**: builds with every warning an error. Its arithmetic (`kernel.h`) is what runs on the
  CPU.
* **-**: the op has no such form.

onnx.reference computes DeformConv in Python, up to a millisecond for a single product, and fails on axes of
one pixel: only small cases are run there, and of the ops on point clouds none as large as a network's. The
variants plain, avx2, avx512 and neon of the native library differ in ops that have a vectorised form
(`cpu.cc`, `exact.cc`); others run the same code in each.
"""


@dataclass(frozen=True)
class Backend:
    """A row. detail: the form of a body or the instruction set of the native library. unmeasured: what a
    cell says as long as nobody has measured it."""

    name: str
    precision: str
    kind: Kind
    detail: str = ""
    unmeasured: str = "not run here"

    def is_offered(self, spec: OpSpec) -> bool:
        """Whether the op has that body, or that kernel."""
        package = f"tercelet.ops.{spec.folder}"
        if self.kind == "torch":
            return importlib.util.find_spec(f"{package}.torch_kernel") is not None
        if self.kind in ("body", "onnx.reference"):
            return any(body.form == self.detail for body in import_module(f"{package}.body").BODIES)
        return True


def forms() -> list[str]:
    """The forms of bodies that any op offers, in the order of the ops."""
    bodies = (
        body for spec in OPS.values() for body in import_module(f"tercelet.ops.{spec.folder}.body").BODIES
    )
    return list(dict.fromkeys(body.form for body in bodies))


BACKENDS: tuple[Backend, ...] = (
    Backend("numpy reference", "float32", "numpy"),
    Backend("torch", "float32", "torch"),
    Backend("torch", "float64", "torch"),
    *(Backend(f"body {form} in ONNX Runtime", "float32", "body", form) for form in forms()),
    *(Backend(f"body {form} in onnx.reference", "float32", "onnx.reference", form) for form in forms()),
    Backend("native ONNX Runtime, plain", "float32", "native", "plain"),
    Backend("native ONNX Runtime, avx2", "float32", "native", "avx2"),
    Backend("native ONNX Runtime, avx512", "float32", "native", "avx512"),
    Backend("native ONNX Runtime, neon", "float32", "native", "neon"),
    Backend("CUDA", "float32", "cuda", unmeasured="compiled, not run"),
    Backend("CUDA", "float16", "cuda", unmeasured="compiled, not run"),
    Backend("TensorRT plugin", "float32", "tensorrt", unmeasured="compiled, not run"),
    Backend("TensorRT plugin", "float16", "tensorrt", unmeasured="compiled, not run"),
)


@dataclass(frozen=True)
class Fact:
    """What one run of a case table gave. ran: how many of its `cases` were run. difference: the largest, as
    contract.op_spec.largest_relative_difference gives it; 0 only where every bit was the same."""

    op: str
    backend: Backend
    ran: int
    cases: int
    difference: float


Cells = dict[tuple[str, str, str], str]
"""Text of a cell by backend, precision and op."""


def update_page(page: Path, facts: Iterable[Fact]) -> None:
    """Write the page with the cells that `facts` speak of replaced and all others kept; made if missing."""
    known = cells_of(page.read_text(encoding="utf-8")) if page.is_file() else {}
    known.update({(f.backend.name, f.backend.precision, f.op): cell_from_fact(f) for f in facts})
    page.write_text(page_from_cells(known), encoding="utf-8")


def page_from_cells(known: Mapping[tuple[str, str, str], str]) -> str:
    """The whole page; a cell that is not known says so."""
    lines = [f"| backend | precision | {' | '.join(OPS)} |", "|---" * (2 + len(OPS)) + "|"]
    for backend in BACKENDS:
        texts = [
            known.get((backend.name, backend.precision, spec.name), backend.unmeasured)
            if backend.is_offered(spec)
            else NOT_OFFERED
            for spec in OPS.values()
        ]
        lines.append(f"| {backend.name} | {backend.precision} | {' | '.join(texts)} |")
    table = "\n".join(lines)
    return f"{_INTRODUCTION}\n{table}\n\n## Operands and attributes\n{''.join(map(_section, OPS.values()))}"


def cells_of(text: str) -> Cells:
    """The cells of a page that this module wrote."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in row] for row in rows]
    header = next((row for row in rows if row[:2] == ["backend", "precision"]), None)
    if header is None:
        return {}
    return {
        (row[0], row[1], op): cell
        for row in rows
        if row is not header and len(row) == len(header)
        for op, cell in zip(header[2:], row[2:], strict=True)
    }


def cell_from_fact(fact: Fact) -> str:
    """The claim that a fact supports: a power of ten at least twice the difference, as other machines sum in
    other orders, and on how many cases."""
    some = "" if fact.ran == fact.cases else f", {fact.ran} of {fact.cases}"
    if fact.difference == 0:
        return f"exact{some}"
    if not math.isfinite(fact.difference):
        return "wrong"
    return f"within 1e{math.ceil(math.log10(2 * fact.difference))}{some}"


def bound_of(cell: str) -> float | None:
    """The largest difference that a cell allows; None where it claims nothing."""
    if cell.startswith("exact"):
        return 0.0
    found = re.match(r"within (1e-?\d+)", cell)
    return float(found[1]) if found else None


def _section(spec: OpSpec) -> str:
    lines = [f"\n### {spec.name}\n", f"{spec.summary}.\n"]
    for word, operands in (("input", spec.inputs), ("output", spec.outputs)):
        for operand in operands:
            kind = "" if operand.dtype == "float32" else f" {operand.dtype}"
            shape = ", ".join(map(str, operand.shape))
            lines.append(f"* {word} `{operand.name}` ({shape}){kind}: {operand.meaning}")
    for item in spec.attributes:
        kind = f"one of {', '.join(item.choices)}" if item.choices else item.kind
        default = "" if item.default is None else f", {item.default} if not given"
        lines.append(f"* attribute `{item.name}` ({kind}{default}): {item.meaning}")
    return "\n".join(lines) + "\n"
