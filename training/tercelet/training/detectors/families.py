"""The table of all detectors, readable without torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, TypeAlias

from tercelet.contract.errors import InputError

if TYPE_CHECKING:
    from tercelet.training.detectors.density_net import DensityNet
    from tercelet.training.detectors.detector import Detector
    from tercelet.training.detectors.point_detector import PointDetector

# What `build` and `load_upstream` give; a text, so that reading this table does not load torch.
Network: TypeAlias = "Detector | DensityNet | PointDetector"
NetworkKind = Literal["detector", "density", "points"]
PICTURE_KINDS: tuple[NetworkKind, ...] = ("detector", "density")


@dataclass(frozen=True)
class Family:
    """One line of the table.

    name: detector names, with {scale} where the scale letter stands. where: "module:class" below this
    package; the class is imported on first use, because it imports torch. scales: the scale letters, one
    empty text for a network of one size. kind: whether it gives boxes (`Detector`) or a density
    (`DensityNet`) of a picture, or boxes of a cloud of points (`PointDetector`).
    """

    name: str
    where: str
    scales: tuple[str, ...] = ("n", "s", "m", "l", "x")
    kind: NetworkKind = "detector"

    def names(self) -> tuple[str, ...]:
        """The detector names of the family, smallest scale first."""
        return tuple(self.name.format(scale=scale) for scale in self.scales)

    def load(self) -> type[Detector] | type[DensityNet] | type[PointDetector]:
        """The class that builds the family's detectors."""
        module, _, attribute = self.where.partition(":")
        found: type[Detector] | type[DensityNet] | type[PointDetector] = getattr(
            importlib.import_module(f"{__package__}.{module}"), attribute
        )
        return found


DETECTORS: tuple[Family, ...] = (
    Family("yolov5{scale}", "yolov5.detector:YOLOv5"),
    Family("yolov5{scale}-akconv", "yolov5_akconv.detector:YOLOv5AKConv"),
    Family("yolov5{scale}-akconv-official", "yolov5_akconv.detector:YOLOv5AKConvOfficial"),
    Family("yolov5{scale}u", "yolov5u.detector:YOLOv5u"),
    Family("yolov8{scale}", "yolov8.detector:YOLOv8"),
    Family("yolo11{scale}", "yolo11.detector:YOLO11"),
    Family("yolo11{scale}-seam", "yolo11_seam.detector:YOLO11SEAM"),
    Family("yolo11{scale}-multiseam", "yolo11_seam.detector:YOLO11MultiSEAM"),
    Family("mcnn", "mcnn.network:MCNN", scales=("",), kind="density"),
    Family("density-lite", "density_lite.network:DensityLite", scales=("",), kind="density"),
    Family("votenet", "votenet.detector:VoteNet", scales=("",), kind="points"),
    Family("imvotenet", "imvotenet.detector:ImVoteNet", scales=("",), kind="points"),
)


def detector_names(kind: NetworkKind | None = None) -> tuple[str, ...]:
    """The names of one kind that `build` and `load_upstream` take; without a kind, of every network that
    looks at pictures."""
    kinds = PICTURE_KINDS if kind is None else (kind,)
    return tuple(name for family in DETECTORS if family.kind in kinds for name in family.names())


def find_family(detector: str) -> tuple[Family, str]:
    """The family of a detector and its scale letter; InputError with near matches for an unknown name."""
    for family in DETECTORS:
        for scale, name in zip(family.scales, family.names(), strict=True):
            if name == detector:
                return family, scale
    names = (*detector_names(), *detector_names("points"))
    near = get_close_matches(str(detector).lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {_ranges()}"
    raise InputError(f"unknown detector {detector!r}: {hint}")


def _ranges() -> str:
    return ", ".join(family.name.format(scale=f"{{{','.join(family.scales)}}}") for family in DETECTORS)
