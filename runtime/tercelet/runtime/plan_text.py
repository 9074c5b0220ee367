"""A plan in one line, for the terminal and for pictures."""

from __future__ import annotations

from tercelet.contract.plan import Plan


def text_from_plan(plan: Plan) -> str:
    """`plan canvas: 3 canvases, 11 regions, 2 left out`."""
    counts = f"{_counted(plan.canvases, 'canvas')}, {_counted(len(plan.regions), 'region')}"
    return f"plan {plan.name}: {counts}, {len(plan.left_out)} left out"


def _counted(count: int, noun: str) -> str:
    if count != 1:
        noun += "es" if noun.endswith("s") else "s"
    return f"{count} {noun}"
