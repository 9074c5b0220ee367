"""docs/ops.md names every op and backend, and claims only what the runs on this machine give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tercelet.export.op_support import Differences, measured_facts, runs_here, takes
from tercelet.ops import OPS
from tercelet.ops.support_table import (
    BACKENDS,
    NOT_OFFERED,
    Fact,
    bound_of,
    cell_from_fact,
    cells_of,
    page_from_cells,
    update_page,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ops.md"
UPDATE = "python -m tercelet.export.op_support docs/ops.md"


def test_a_page_of_nothing_claims_nothing_and_has_every_row_and_op() -> None:
    cells = cells_of(page_from_cells({}))
    assert set(cells) == {(row.name, row.precision, op) for row in BACKENDS for op in OPS}
    assert {bound_of(cell) for cell in cells.values()} == {None}
    assert cells_of("") == {}


def test_the_page_has_the_structure_that_would_be_written_now() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page_from_cells(cells_of(text)), f"rewrite it: {UPDATE}"
    cells = cells_of(text)
    for row in BACKENDS:
        for spec in OPS.values():
            cell = cells[row.name, row.precision, spec.name]
            assert (cell == NOT_OFFERED) == (not row.is_offered(spec))
            assert cell in (NOT_OFFERED, row.unmeasured) or bound_of(cell) is not None


def test_the_page_claims_what_this_machine_gives(
    differences: Differences, request: pytest.FixtureRequest
) -> None:
    has_tools = shutil.which("cmake") and shutil.which("g++")
    library = request.getfixturevalue("native_library") if has_tools else None
    cells = cells_of(PAGE.read_text(encoding="utf-8"))
    facts = list(measured_facts(differences, library))
    assert {fact.op for fact in facts} == set(OPS)
    for fact in facts:
        cell = cells[fact.backend.name, fact.backend.precision, fact.op]
        bound = bound_of(cell)
        assert bound is not None, f"{fact}: the page says {cell!r}; rewrite it: {UPDATE}"
        assert fact.difference <= bound, f"{fact}: the page says {cell!r}"
        assert cell.partition(",")[2] == cell_from_fact(fact).partition(",")[2], (
            f"{fact}: the page says {cell!r}"
        )


def test_what_is_left_out_is_named_on_the_page_and_nothing_else_is() -> None:
    for row in BACKENDS:
        partly = [
            spec.name
            for spec in OPS.values()
            if row.is_offered(spec) and not all(takes(row, spec, case) for case in spec.cases())
        ]
        assert not partly or row.name in (
            "body deform_conv in onnx.reference",
            "body standard in onnx.reference",
        )
    page = PAGE.read_text(encoding="utf-8")
    assert "onnx.reference computes DeformConv in Python" in page
    assert "of the ops on point clouds none as large as a network's" in page


@pytest.mark.parametrize(
    ("difference", "ran", "cell"),
    [
        (0.0, 8, "exact"),
        (0.0, 5, "exact, 5 of 8"),
        (4e-7, 8, "within 1e-6"),
        (6e-7, 8, "within 1e-5"),
        (1e-3, 2, "within 1e-2, 2 of 8"),
        (float("inf"), 8, "wrong"),
    ],
)
def test_a_cell_allows_what_was_measured(difference: float, ran: int, cell: str) -> None:
    got = cell_from_fact(Fact("AKConv", BACKENDS[0], ran, 8, difference))
    assert got == cell
    bound = bound_of(got)
    assert (bound is None) == (cell == "wrong")
    assert bound is None or difference <= bound


def test_new_facts_replace_their_cells_and_leave_the_others(tmp_path: Path) -> None:
    page = tmp_path / "ops.md"
    cuda, plugin = (next(row for row in BACKENDS if row.kind == kind) for kind in ("cuda", "tensorrt"))
    update_page(page, [Fact("AKConv", cuda, 46, 46, 3e-7)])
    update_page(page, [Fact("AKConv", plugin, 46, 46, 2e-5), Fact("AKConvSample", plugin, 48, 48, 0.0)])
    cells = cells_of(page.read_text())
    assert cells[cuda.name, cuda.precision, "AKConv"] == "within 1e-6"
    assert cells[cuda.name, cuda.precision, "AKConvSample"] == cuda.unmeasured
    assert cells[plugin.name, plugin.precision, "AKConv"] == "within 1e-4"
    assert cells[plugin.name, plugin.precision, "AKConvSample"] == "exact"


def test_without_a_library_no_native_row_runs_here() -> None:
    assert not any(runs_here(row, None) for row in BACKENDS if row.kind in ("native", "cuda", "tensorrt"))
