"""What a caller may choose about looking closer, and what is chosen where he does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tercelet.contract.errors import InputError
from tercelet.contract.manifest import AerialRecord
from tercelet.contract.plan import PLAN_NAMES, PlanName
from tercelet.runtime.fusion import FUSION_NAMES, FusionName
from tercelet.runtime.planning.grid import DEFAULT_OVERLAP, tile_starts

EVIDENCE_NAMES = ("full", "density", "previous")
# The most canvases of a frame, whatever the machine can bear: 8K in uniform tiles needs about 130.
MAXIMUM_CANVASES = 256


@dataclass(frozen=True)
class AerialOptions:
    """How the parts of a frame that are looked at again are found.

    plan: "full" (nothing but the full frame), "grid", "dmnet" or "canvas". evidence: of EVIDENCE_NAMES.
    canvases: at most so many a frame besides the full one; None takes half of what uniform tiles would cost.
    budget_ms: of a frame, from the pixels to the boxes; turns into canvases by measuring. threshold: least
    evidence of a cell ("canvas", None chooses) or objects in a window ("dmnet", None for 0.08). overlap: of
    uniform tiles. fusion: "nms" or "weighted". object_px, enlarging: see AerialRecord. object_size: side
    of an object in frame pixels, for evidence that does not tell; None for a share of the frame.
    """

    plan: PlanName = "canvas"
    evidence: tuple[str, ...] = ("full",)
    canvases: int | None = None
    budget_ms: float | None = None
    threshold: float | None = None
    overlap: float = DEFAULT_OVERLAP
    fusion: FusionName = "nms"
    object_px: float = 50.0
    enlarging: float = 0.5
    object_size: float | None = None

    def __post_init__(self) -> None:
        if self.plan not in PLAN_NAMES:
            raise InputError(f"plan: expected one of {', '.join(PLAN_NAMES)}, got {self.plan!r}")
        if self.fusion not in FUSION_NAMES:
            raise InputError(f"fusion: expected one of {', '.join(FUSION_NAMES)}, got {self.fusion!r}")
        for name in self.evidence:
            if name not in EVIDENCE_NAMES:
                raise InputError(f"evidence: expected some of {', '.join(EVIDENCE_NAMES)}, got {name!r}")
        if not self.evidence:
            raise InputError(f"evidence: expected at least one of {', '.join(EVIDENCE_NAMES)}, got none")
        if self.canvases is not None and not 0 <= self.canvases <= MAXIMUM_CANVASES:
            raise InputError(f"canvases: expected 0 to {MAXIMUM_CANVASES}, got {self.canvases}")
        if self.budget_ms is not None and not 0 < self.budget_ms < 1e6:
            raise InputError(f"budget_ms: expected milliseconds above 0, got {self.budget_ms}")
        if self.threshold is not None and not 0 <= self.threshold < 1e6:
            raise InputError(f"threshold: expected a number of objects from 0 on, got {self.threshold}")
        if not 0 <= self.overlap < 0.9:
            raise InputError(f"overlap: expected 0 to 0.9 of a tile, got {self.overlap}")
        if self.object_size is not None and not 1 <= self.object_size <= 10000:
            raise InputError(f"object_size: expected 1 to 10000 frame pixels, got {self.object_size}")
        if not 1 <= self.object_px <= 1000:
            raise InputError(f"object_px: expected 1 to 1000 canvas pixels, got {self.object_px}")
        if not 0 <= self.enlarging <= 1:
            raise InputError(f"enlarging: expected 0 (brings nothing) to 1, got {self.enlarging}")

    @property
    def asks_density(self) -> bool:
        """Whether a density network is run at all."""
        return self.plan == "dmnet" or (self.plan == "canvas" and "density" in self.evidence)

    def limit_for(self, height: int, width: int, *, canvas: tuple[int, int]) -> int:
        """How many canvases a frame of this size may take besides the full one, the budget left aside."""
        if self.plan == "full":
            return 0
        if self.canvases is not None:
            return self.canvases
        rows = tile_starts(height, tile=canvas[0], overlap=self.overlap)
        columns = tile_starts(width, tile=canvas[1], overlap=self.overlap)
        tiles = len(rows) * len(columns)
        if self.plan == "grid":
            return min(tiles, MAXIMUM_CANVASES)
        # Half of the tiles' cost, the full frame counted on both sides.
        return min(max((tiles + 1) // 2 - 1, 1), MAXIMUM_CANVASES)


def options_from_record(record: AerialRecord | None, *, has_density: bool) -> AerialOptions:
    """The options of a bundle, or the general ones; density is evidence where there is a density network."""
    if record is None:
        return AerialOptions(evidence=("density",) if has_density else ("full",))
    return AerialOptions(
        plan=record.plan,
        evidence=record.evidence,
        canvases=record.canvases,
        object_px=record.object_px,
        enlarging=record.enlarging,
    )


# Which plans have a use for an option; those that are not named here serve all.
_USED_BY: dict[str, tuple[PlanName, ...]] = {
    "evidence": ("canvas",),
    "canvases": ("grid", "dmnet", "canvas"),
    "budget_ms": ("grid", "dmnet", "canvas"),
    "threshold": ("dmnet", "canvas"),
    "overlap": ("grid",),
    "object_px": ("canvas",),
    "enlarging": ("canvas",),
    "object_size": ("canvas",),
}


def is_used(option: str, plan: PlanName) -> bool:
    """Whether an option, by its name in AerialOptions, changes anything with that plan."""
    return plan in _USED_BY.get(option, PLAN_NAMES)


def with_overrides(options: AerialOptions, **given: object) -> AerialOptions:
    """The options with everything replaced that is not None.

    Raises InputError for a value out of range, and for an option that the plan has no use for.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    changed = replace(options, **chosen)  # type: ignore[arg-type]
    for name in chosen:
        if not is_used(name, changed.plan):
            plans = " or ".join(_USED_BY[name])
            raise InputError(
                f"{'density_threshold' if name == 'threshold' else name}: is of use with plan {plans}, "
                f"but the plan is {changed.plan}; leave it out, or choose another plan"
            )
    return changed
