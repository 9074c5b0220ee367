"""The manifest: one schema for every artefact, as frozen dataclasses, read strictly.

Unknown keys and wrong types are refused with the path of the field, so that a typing error or a file of a
later version is found when it is read and not in flight. A part that a stage has not reached yet is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tercelet.contract.errors import InputError
from tercelet.contract.preprocess import Preprocess

SCHEMA_VERSION = 1
# K of an exported graph: AP on crowded frames is that of all candidates within 0.02 points
# (benchmarks/bench_candidates.py), and it is the most that TensorRT can choose from a row.
DEFAULT_CANDIDATES = 3840
Anchors = tuple[tuple[tuple[float, ...], ...], ...]
Tables = tuple[tuple[int, ...], ...]
Option = (
    int | float | str | bool | None | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Tables | Anchors
)


@dataclass(frozen=True)
class DetectorRecord:
    """Which network this is: its name in the list of detectors, and the options it was built with."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from. licence: as the file or the user states it; None if nobody did."""

    source: str
    sha256: str
    format: str
    licence: str | None = None
    date: str | None = None
    image_size: int | None = None
    producer: str | None = None
    tensors: int | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class TensorRecord:
    """One input or output of the graph: name, numpy dtype name, fixed shape, and what the numbers mean."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True)
class Network:
    """The graph: its file, inputs and outputs, the number of candidates K, opset, IR, and custom ops.

    candidates: 0 where the graph gives a density map. batch: "fixed", every run takes as many canvases as the
    shapes say; "up_to", their first side is the largest and the graph takes any number from 1 on.
    """

    file: str
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    candidates: int
    opset: int
    ir_version: int
    ops: tuple[str, ...] = ()
    batch: Literal["fixed", "up_to"] = "fixed"


@dataclass(frozen=True)
class Postprocess:
    """Defaults of what the runtime does after the graph; a caller may override each."""

    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 300
    class_agnostic: bool = False


@dataclass(frozen=True)
class Parity:
    """What export measured: the graph against its source, candidate by candidate, over all frames.

    boxes_px_*: largest and 99.9th percentile difference of a box coordinate in canvas pixels. scores_*: the
    same of a score. missing: candidates of the source, above every score the graph left out, without partner.
    gate_*: the 99.9th percentile that was allowed. noise_*: the 99.9th percentile that float32 rounding alone
    causes in the source; measured only where a default gate was exceeded and so raised to four times that.
    """

    reference: str
    frames: int
    candidates: int
    boxes_px_max: float
    boxes_px_p999: float
    scores_max: float
    scores_p999: float
    missing: int
    gate_px: float
    gate_score: float
    noise_px_p999: float | None = None
    noise_scores_p999: float | None = None


@dataclass(frozen=True)
class Target:
    """What the bundle was made for: backend, precision, and versions of the tools that made it."""

    backend: str
    precision: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plugin:
    """A native library of custom ops in the bundle, for the backend and machine that it was built for.

    file: below plugins/. machine, system: as platform.machine() and platform.system() say. ops: the ops that
    it brings, as in `Network.ops`. It is loaded only if its sha256 is that of `files`.
    """

    file: str
    backend: str
    machine: str
    system: str
    ops: tuple[str, ...]


@dataclass(frozen=True)
class Lowering:
    """How custom ops run where no native library is at hand.

    forms: op to the form of its body, such as deform_conv or row_gather. `Network.ops` is empty where nodes
    were replaced by what is in their bodies.
    reason: measured, only (no other form was possible) or asked. engine: what it was measured on, with
    milliseconds for one frame by form. ops_difference: over all nodes of custom ops, on the inputs they got
    in the engine, the largest difference from the op's reference, relative to the largest value.
    """

    forms: Mapping[str, str]
    reason: Literal["measured", "only", "asked"]
    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    ops_difference: float | None = None


@dataclass(frozen=True)
class DensityRecord:
    """What a density bundle's graph gives: objects in each cell of its canvas.

    cell: side of a cell in canvas pixels; the sum over all cells is the number of objects on the canvas.
    """

    cell: int


@dataclass(frozen=True)
class DensityParity:
    """What export measured of a density network, over all frames and cells.

    cells_max: largest difference of a cell from the source, counts_max: largest difference of a frame's
    count, both relative to the largest value (cell, count) of the source. gate: what both were allowed.
    """

    reference: str
    frames: int
    cells_max: float
    counts_max: float
    gate: float


@dataclass(frozen=True)
class CloudRecord:
    """The cloud that the graph of pipeline rgbd takes, in the upright depth frame: x right, y forward, z up.

    points: as many in every run; a runtime draws them from the cloud it was given. features: the columns of a
    point, metres; height is z above the floor, which is the percentile height_percentile (0.99 is 0.99 %, not
    99 %) of all z.
    """

    points: int
    features: tuple[str, ...] = ("x", "y", "z", "height")
    height_percentile: float = 0.99

    def __post_init__(self) -> None:
        if self.points < 1:
            raise InputError(f"points: expected at least 1, got {self.points}")
        if self.features[:3] != ("x", "y", "z"):
            raise InputError(f"features: expected x, y, z first, got {', '.join(self.features) or 'none'}")
        if not 0 <= self.height_percentile <= 100:
            raise InputError(f"height_percentile: expected 0 to 100, got {self.height_percentile:g}")


@dataclass(frozen=True)
class PictureVotesRecord:
    """What a network of pipeline rgbd with image votes is shown of the picture.

    boxes: K, as many in every run, rows without a box being zeros. channels, mean, scale: the pixel of a
    point is (value of 0 to 255 - mean) * scale, channel by channel in that order. classes: names of the
    numbers that say a box's class. detector: subfolder with a complete bundle of a 2D detector, None where
    the bundle has none. class_map: label of that detector to one of classes; other labels give no votes.
    score_threshold: boxes below it are not shown to the network. without_picture: subfolder with a complete
    bundle for frames that have no picture or no calibration, None where the network gets those without a
    vote.
    """

    boxes: int
    classes: tuple[str, ...]
    channels: Literal["BGR", "RGB"] = "BGR"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: float = 1 / 255
    detector: str | None = None
    class_map: Mapping[str, str] = field(default_factory=dict)
    score_threshold: float = 0.1
    without_picture: str | None = None

    def __post_init__(self) -> None:
        if self.boxes < 1:
            raise InputError(f"boxes: expected at least 1, got {self.boxes}")
        if len(self.mean) != 3 or not all(0 <= value <= 255 for value in self.mean):
            raise InputError(f"mean: expected three numbers of 0 to 255, got {self.mean}")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale: expected a number above 0, got {self.scale}")
        if not 0 <= self.score_threshold <= 1:
            raise InputError(f"score_threshold: expected 0 to 1, got {self.score_threshold:g}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(
                f"classes: expected at least one, each once, got {', '.join(self.classes) or 'none'}"
            )
        strange = sorted({name for name in self.class_map.values() if name not in self.classes})
        if strange:
            raise InputError(
                f"class_map: expected classes of the network ({', '.join(self.classes)}), got "
                f"{', '.join(strange)}"
            )
        if self.detector is not None and self.detector == self.without_picture:
            raise InputError(
                f"detector, without_picture: expected two subfolders, got {self.detector} for both"
            )


@dataclass(frozen=True)
class CloudParity:
    """What export measured of a network of points, proposal by proposal, over all clouds.

    The source was given what the graph's ops had decided: which points are sampled, which lie in a ball, and
    which votes a picture gives. decisions: how many that were; changed: how many it would have taken
    otherwise, because of the last bits of a vote. points_max: largest difference of a number decided on,
    metres. boxes_*: largest and 99.9th percentile difference of a box's number, in metres and radians,
    relative to the largest where that is above 1. scores_*: the same of objectness and class scores.
    gate_box, gate_score: what points_max and the 99.9th percentiles were allowed.
    """

    reference: str
    clouds: int
    proposals: int
    boxes_max: float
    boxes_p999: float
    scores_max: float
    scores_p999: float
    decisions: int
    changed: int
    points_max: float
    gate_box: float
    gate_score: float


@dataclass(frozen=True)
class AerialRecord:
    """How a bundle of pipeline density_crops looks closer, unless the caller says otherwise.

    density: subfolder with a complete density bundle, None where the bundle has none. plan: how regions are
    chosen. evidence: what tells where objects are, see `tercelet.runtime.open_pipeline`. canvases: at most so
    many a frame, the full frame not counted; None for half of what uniform tiles would take. object_px: side
    of an object on a canvas, in pixels, at which the detector finds about two of three. enlarging: an object
    shown at a scale above 1 counts as one whose side grew by scale ** enlarging, from 0 (enlarging brings
    nothing) to 1.
    """

    density: str | None = None
    plan: Literal["full", "grid", "dmnet", "canvas"] = "canvas"
    evidence: tuple[str, ...] = ("full",)
    canvases: int | None = None
    object_px: float = 50.0
    enlarging: float = 0.5


@dataclass(frozen=True)
class Golden:
    """A file with an input canvas and what the graph gave for it, run once after opening.

    tolerance_px, tolerance_score: of candidates. Of a density map tolerance_score counts, as a share of its
    largest cell. Of a cloud's proposals tolerance_px is in metres.
    """

    file: str
    tolerance_px: float
    tolerance_score: float


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. `files` maps every other file of the folder to its sha256.

    stored: "fp16" where the large weights lie in the file in half precision, None for float32. Arithmetic is
    that of `target` either way.
    """

    kind: Literal["checkpoint", "bundle"]
    detector: DetectorRecord
    labels: tuple[str, ...]
    preprocess: Preprocess
    provenance: Provenance
    files: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION
    pipeline: Literal["single", "density", "density_crops", "rgbd"] | None = None
    network: Network | None = None
    postprocess: Postprocess | None = None
    parity: Parity | None = None
    target: Target | None = None
    golden: Golden | None = None
    lowering: Lowering | None = None
    plugins: tuple[Plugin, ...] = ()
    density: DensityRecord | None = None
    density_parity: DensityParity | None = None
    aerial: AerialRecord | None = None
    cloud: CloudRecord | None = None
    cloud_parity: CloudParity | None = None
    picture_votes: PictureVotesRecord | None = None
    stored: Literal["fp16"] | None = None

    def __post_init__(self) -> None:
        classes = self.detector.options.get("classes")
        if classes is not None and classes != len(self.labels):
            raise InputError(f"labels: expected {classes}, one for each class, got {len(self.labels)}")

    def density_parts(self) -> tuple[Network, DensityRecord]:
        """The parts that a density bundle cannot lack; InputError where this is no such bundle."""
        if self.pipeline != "density" or self.network is None or self.density is None:
            raise InputError(
                f"manifest.json: expected a density bundle, got a {self.kind} of {self.detector.name}; "
                "export the checkpoint of a density network such as mcnn or density-lite"
            )
        return self.network, self.density

    def cloud_parts(self) -> tuple[Network, CloudRecord]:
        """The parts that a bundle of pipeline rgbd cannot lack; InputError where this is no such bundle."""
        if self.pipeline != "rgbd" or self.network is None or self.cloud is None:
            raise InputError(
                f"manifest.json: expected a bundle that looks at clouds of points, got a {self.kind} of "
                f"{self.detector.name}; export the checkpoint of a network such as votenet"
            )
        return self.network, self.cloud

    def bundle_parts(self) -> tuple[Network, Postprocess, Target]:
        """The parts that a bundle cannot lack; InputError naming the first one missing."""
        if self.network is None or self.postprocess is None or self.target is None or self.pipeline is None:
            named = ("pipeline", "network", "postprocess", "target")
            missing = next(name for name in named if getattr(self, name) is None)
            raise InputError(f"manifest.json: {missing}: expected an object in a bundle, got null")
        return self.network, self.postprocess, self.target
