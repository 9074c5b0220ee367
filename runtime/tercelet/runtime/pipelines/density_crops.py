"""Pipeline `density_crops`: the full frame, and closer looks where objects are dense, in one batch.

Evidence says where to look, a plan places regions of the frame on canvases, all canvases go through the
network in one run (two where the evidence is the full frame itself), and what they show is fused in the
frame.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.geometry import Letterbox, letterbox_for
from tercelet.contract.manifest import DEFAULT_CANDIDATES, Manifest, Postprocess
from tercelet.contract.plan import AerialReport, Plan, Region
from tercelet.contract.preprocess import ColorOrder, check_frame, fill_canvas
from tercelet.contract.session import Session, TopCandidates
from tercelet.runtime.fusion import FusedDetections, Fusion, FusionRules
from tercelet.runtime.pipelines.aerial_options import AerialOptions
from tercelet.runtime.pipelines.aerial_state import AerialView, FrameState, StageClock
from tercelet.runtime.pipelines.density_source import DensitySource
from tercelet.runtime.pipelines.single import fastest_resize
from tercelet.runtime.planning.canvas import CanvasSettings, plan_canvas
from tercelet.runtime.planning.dmnet_regions import plan_dmnet_regions
from tercelet.runtime.planning.grid import plan_grid

# Candidates of the full frame down to this score are evidence, and this power of their score its mass: a
# weak one stands for more objects that are too small to be noticed at all than its score says.
_EVIDENCE_SCORE = 0.003
_EVIDENCE_MOST = 1500
_EVIDENCE_POWER = 0.3
# Cells by which what was found in the frame before may have moved.
_SPREAD = 1
# Runs before the first frame where there is a budget, with so many canvases besides the full frame's, and
# what planning and fusion are taken to cost until they have been measured.
_WARM_UP = 4
# Sizes of frames whose state is kept, for folders of pictures.
_SIZES_KEPT = 4
_WARM_CANVASES = 2
_GUESSED_MS = 3.0


class DensityCropsPipeline:
    """Frame in, detections out. Not for use from several threads at once: it owns its canvases.

    Frames that follow one another are taken for a video where the evidence is "previous".
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        postprocess: Postprocess,
        options: AerialOptions,
        density: DensitySource | None = None,
        color: ColorOrder = "BGR",
    ) -> None:
        if "density" in options.evidence and density is None and options.plan == "canvas":
            raise InputError(
                "evidence: density was asked for, but there is no density network; give one with --density, "
                "or take evidence full"
            )
        if options.plan == "dmnet" and density is None:
            raise InputError("plan: dmnet needs a density network; give one with --density")
        self.manifest = manifest
        self.session = session
        self.postprocess = postprocess
        self.labels = manifest.labels
        self.options = options
        self._density = density
        self._color: ColorOrder = color
        self._resize_into = fastest_resize()
        self._size = (manifest.preprocess.height, manifest.preprocess.width)
        self._state: FrameState | None = None
        self._used = 0
        self._states: dict[tuple[int, int], FrameState] = {}
        self._settings = CanvasSettings(
            object_px=options.object_px, enlarging=options.enlarging, object_size=options.object_size
        )
        self._reserve(0)

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        """frame: (H, W, 3) uint8, BGR unless the pipeline was opened with color="RGB".

        Returns the detections in frame pixels, best first, with their origins, a report of what was looked
        at, and timing_ms of preprocess, density, plan, cut, infer and postprocess. Raises InputError for a
        frame of another shape or type.
        """
        check_frame(frame)
        clock = StageClock()
        state = self._state_for(frame)
        clock.restart()
        state.place = self._fill_full(frame)
        clock.lap("preprocess")
        density = self._density_of(frame)
        clock.lap("density")
        full = self._first_run(1) if self._first_run is not None else None
        clock.lap("infer")
        limit = self._limit(state)
        evidence = self._gather(state, density, full)
        plan = self._plan(state, density, limit)
        clock.lap("plan")
        self._cut(frame, plan)
        clock.lap("cut")
        candidates = self._run_regions(plan)
        clock.lap("infer")
        found = self._fuse(state, full, candidates, plan)
        clock.lap("postprocess")
        inferences = 1 + plan.canvases
        predicted = state.cost.predicted_ms(inferences) if self.options.budget_ms else None
        state.cost.learn(
            canvases=inferences, canvases_ms=clock.spent["infer"] + clock.spent["cut"], frame_ms=clock.total
        )
        state.seen = found.boxes.copy(), found.scores.copy()  # the caller may change his
        return Detections(
            boxes=found.boxes,
            scores=found.scores,
            class_ids=found.class_ids,
            labels=self.labels,
            timing_ms=clock.spent,
            origins=found.origins,
            report=AerialReport(
                plan=plan,
                inferences=inferences,
                pixels=inferences * self._size[0] * self._size[1],
                evidence=evidence,
                counted=None if density is None else density.count,
                budget_ms=self.options.budget_ms,
                predicted_ms=predicted,
            ),
        )

    def view(self) -> AerialView | None:
        """The last frame as it was seen, None before the first one."""
        if self._state is None:
            return None
        evidence, used = self._state.evidence, [0, *range(self._offset, self._offset + self._used)]
        return AerialView(evidence.mass.copy(), evidence.cell, self._canvases[used])

    def close(self) -> None:
        """Release the engines."""
        self.session.close()
        if self._density is not None:
            self._density.close()

    def __enter__(self) -> DensityCropsPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _state_for(self, frame: NDArray[np.uint8]) -> FrameState:
        size = frame.shape[0], frame.shape[1]
        state = self._states.pop(size, None)
        if state is None:
            state = FrameState(*size, self.options.limit_for(*size, canvas=self._size))
            if state.limit > self._room:
                self._reserve(state.limit)
            if self.options.budget_ms is not None:
                self._measure(frame, state)
        elif state is not self._state:
            state.seen = None  # another source came between
        self._states[size] = state
        if len(self._states) > _SIZES_KEPT:
            del self._states[next(iter(self._states))]
        self._state = state
        return state

    def _reserve(self, limit: int) -> None:
        """Memory for the full frame and `limit` canvases more, and the session tied to it."""
        options, batch = self.options, self.session.batch
        step = 1 if self.session.is_flexible else batch
        looks_first = options.plan == "canvas" and "full" in options.evidence
        self._offset = step if looks_first else 1
        self._shares = options.plan == "canvas" and not looks_first
        count = self._offset + limit
        count += -count % step
        self._room = count - self._offset
        self._canvases = np.full((count, *self._size, 3), self.manifest.preprocess.pad_value, np.uint8)
        self._first_run = self.session.bind(self._canvases[:step]) if looks_first else None
        self._run = self.session.bind(self._canvases[step:] if looks_first else self._canvases)
        network = self.manifest.network
        self._fusion = Fusion(
            canvas=self._size,
            canvases=count,
            candidates=DEFAULT_CANDIDATES if network is None else network.candidates,
        )

    def _measure(self, frame: NDArray[np.uint8], state: FrameState) -> None:
        """Run the first frame a few times, so that the first plan already knows what a canvas costs."""
        self._fill_full(frame)
        some = min(state.limit, _WARM_CANVASES)
        for _ in range(_WARM_UP):
            clock = StageClock()
            self._density_of(frame)
            clock.lap("density")
            if self._first_run is not None:
                self._first_run(1)
                if some:
                    self._run(some)
            else:
                self._run(1 + some)
            clock.lap("infer")
            state.cost.learn(
                canvases=1 + some, canvases_ms=clock.spent["infer"], frame_ms=clock.total + _GUESSED_MS
            )

    def _limit(self, state: FrameState) -> int:
        """Canvases that this frame may take besides the full one."""
        if self.options.budget_ms is None:
            return state.limit
        return min(max(state.cost.affordable(self.options.budget_ms) - 1, 0), state.limit)

    def _fill_full(self, frame: NDArray[np.uint8]) -> Letterbox:
        """Put the full frame on canvas 0: in its corner where regions may lie beside it, else centred."""
        canvas, preprocess = self._canvases[0], self.manifest.preprocess
        place = letterbox_for(*frame.shape[:2], height=self._size[0], width=self._size[1])
        if not self._shares:
            return fill_canvas(canvas, frame, preprocess, color=self._color, resize_into=self._resize_into)
        canvas.fill(preprocess.pad_value)
        self._put(frame, canvas[: place.height, : place.width])
        return replace(place, left=0, top=0)

    def _put(self, source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Resize a part of the frame into a part of a canvas, in the network's order of channels."""
        if source.shape == target.shape:
            target[...] = source
        else:
            self._resize_into(source, target)
        if self._color != self.manifest.preprocess.color:
            target[...] = target[..., ::-1].copy()

    def _density_of(self, frame: NDArray[np.uint8]) -> DensityMap | None:
        if self._density is None or not self.options.asks_density:
            return None
        return self._density.density_of(frame, color=self._color)

    def _gather(
        self,
        state: FrameState,
        density: DensityMap | None,
        full: TopCandidates | None,
    ) -> tuple[str, ...]:
        """Put the evidence of this frame together; which sources it came from."""
        evidence, options = state.evidence, self.options
        evidence.start()
        if options.plan == "dmnet" and density is not None:
            evidence.add_density(density)  # for who looks at it; the plan reads the map itself
            return ("density",)
        if options.plan != "canvas":
            return ()
        used = []
        if full is not None:
            boxes, scores = full.boxes[0], full.scores[0]
            count = len(scores) - int(np.searchsorted(scores[::-1], _EVIDENCE_SCORE, side="right"))
            count = min(count, _EVIDENCE_MOST)
            found = state.place.to_frame(boxes[:count])
            evidence.add_boxes(found, scores[:count], power=_EVIDENCE_POWER)
            used.append("full")
        if "previous" in options.evidence and state.seen is not None:
            boxes, scores = state.seen
            evidence.add_boxes(boxes, scores, power=_EVIDENCE_POWER, spread=_SPREAD)
            used.append("previous")
        if used:
            evidence.smooth()
        if density is not None:
            evidence.add_density(density)
            used.append("density")
        return tuple(used)

    def _plan(self, state: FrameState, density: DensityMap | None, limit: int) -> Plan:
        options, size = self.options, (state.height, state.width)
        if options.plan == "canvas":
            return plan_canvas(
                state.evidence,
                canvas=self._size,
                limit=limit,
                settings=self._settings,
                threshold=options.threshold,
                taken=(state.place.width, state.place.height) if self._shares else None,
            )
        if options.plan == "grid":
            return plan_grid(*size, canvas=self._size, overlap=options.overlap, limit=limit)
        if options.plan == "dmnet" and density is not None:
            return plan_dmnet_regions(density, canvas=self._size, limit=limit, threshold=options.threshold)
        return Plan(name=options.plan, limit=limit)

    def _cut(self, frame: NDArray[np.uint8], plan: Plan) -> None:
        """Resize each region of the frame into its place; what no region covers is padding."""
        first = 0 if plan.shares_full else self._offset
        self._used = plan.canvases
        self._canvases[self._offset : self._offset + plan.canvases].fill(self.manifest.preprocess.pad_value)
        for region in plan.regions:
            self._put(
                frame[region.top : region.bottom, region.left : region.right],
                self._canvases[
                    first + region.canvas,
                    region.y : region.y + region.height,
                    region.x : region.x + region.width,
                ],
            )

    def _run_regions(self, plan: Plan) -> TopCandidates | None:
        """Candidates of the canvases; without a first run the full frame's come first."""
        if self._first_run is None:
            return self._run(1 + plan.canvases)
        return self._run(plan.canvases) if plan.canvases else None

    def _fuse(
        self,
        state: FrameState,
        full: TopCandidates | None,
        candidates: TopCandidates | None,
        plan: Plan,
    ) -> FusedDetections:
        size, threshold = (state.height, state.width), self.postprocess.score_threshold
        self._fusion.start()
        regions, first, full_region = plan.regions, 0, None
        if plan.shares_full:
            place, full_region = state.place, len(regions)
            regions += (Region(0, 0, state.width, state.height, 0, 0, 0, place.width, place.height),)
        else:
            whole = candidates if full is None else full
            assert whole is not None
            self._fusion.add_full(whole, state.place, threshold=threshold)
            first = 1 if full is None else 0
        if candidates is not None:
            self._fusion.add_regions(
                candidates, regions, frame=size, threshold=threshold, first=first, full=full_region
            )
        rules = FusionRules(
            score_threshold=threshold,
            iou_threshold=self.postprocess.iou_threshold,
            max_detections=self.postprocess.max_detections,
            class_agnostic=self.postprocess.class_agnostic,
            kind=self.options.fusion,
        )
        return self._fusion.finish(rules, frame=size)
