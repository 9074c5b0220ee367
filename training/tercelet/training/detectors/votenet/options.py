"""What can be chosen when a VoteNet is built, and the checks on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES, YAW_BINS
from tercelet.contract.errors import InputError
from tercelet.training.detectors.options import check_count
from tercelet.training.detectors.point_layers import GATHERINGS, Gathering
from tercelet.training.detectors.point_ops import TIE_RULES, WEIGHTINGS, TieRule, Weighting
from tercelet.training.detectors.votenet.proposal_head import SAMPLINGS, ProposalRules, Sampling

SUNRGBD_SIZES: tuple[float, ...] = tuple(side for size in SUNRGBD_MEAN_SIZES for side in size)


@dataclass(frozen=True)
class VoteNetOptions:
    """The published variants of VoteNet; the defaults are those of mmdetection3d on SUN RGB-D.

    classes: number of classes. mean_sizes: dx, dy, dz by turns in metres, for each class. yaw_bins: bins of
    the circle, 1 for boxes along the axes (ScanNet). points: of a cloud, recommended. proposals,
    proposal_radius (metres), proposal_samples, proposal_sampling ("seed", "vote"): see `ProposalRules`.
    normalised_votes: whether the features of votes are divided by their length. interpolation: "distance" or
    "squared", see `three_interpolate`. ties: "lowest" or "mmcv", see `furthest_point_sample`. norm_eps:
    of every batch norm. neighbours: points of a ball at most, level by level of the backbone; fewer make the
    network quicker, most of whose work is done on those of the first level.
    """

    classes: int = len(SUNRGBD_CLASSES)
    mean_sizes: tuple[float, ...] = SUNRGBD_SIZES
    yaw_bins: int = YAW_BINS
    points: int = 20_000
    proposals: int = 256
    proposal_radius: float = 0.3
    proposal_samples: int = 16
    proposal_sampling: Sampling = "seed"
    normalised_votes: bool = True
    interpolation: Weighting = "distance"
    ties: TieRule = "lowest"
    norm_eps: float = 1e-5
    neighbours: tuple[int, ...] = tuple(level.samples for level in GATHERINGS)

    def __post_init__(self) -> None:
        for name in ("classes", "yaw_bins", "points", "proposals", "proposal_samples"):
            check_count(name, getattr(self, name))
        if not isinstance(self.neighbours, (tuple, list)) or len(self.neighbours) != len(GATHERINGS):
            raise InputError(
                f"neighbours: expected {len(GATHERINGS)} numbers, one a level, got {self.neighbours!r}"
            )
        for count in self.neighbours:
            check_count("neighbours", count)
        object.__setattr__(self, "neighbours", tuple(self.neighbours))
        _check_sizes(self.mean_sizes, self.classes)
        object.__setattr__(self, "mean_sizes", tuple(map(float, self.mean_sizes)))
        for name in ("proposal_radius", "norm_eps"):
            check_positive(name, getattr(self, name))
        check_choice("proposal_sampling", self.proposal_sampling, SAMPLINGS)
        check_choice("interpolation", self.interpolation, WEIGHTINGS)
        check_choice("ties", self.ties, TIE_RULES)
        if not isinstance(self.normalised_votes, bool):
            raise InputError(f"normalised_votes: expected true or false, got {self.normalised_votes!r}")

    def size_rows(self) -> tuple[tuple[float, float, float], ...]:
        """The mean sizes, one row for each class."""
        sides = self.mean_sizes
        return tuple((sides[i], sides[i + 1], sides[i + 2]) for i in range(0, len(sides), 3))

    def gatherings(self) -> tuple[Gathering, ...]:
        """The levels of the backbone."""
        return tuple(
            replace(level, samples=count) for level, count in zip(GATHERINGS, self.neighbours, strict=True)
        )

    def rules(self) -> ProposalRules:
        """The part that the head reads."""
        return ProposalRules(
            proposals=self.proposals,
            radius=self.proposal_radius,
            samples=self.proposal_samples,
            sampling=self.proposal_sampling,
            ties=self.ties,
            is_normalised=self.normalised_votes,
        )


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """InputError unless value is one of `choices`."""
    known = tuple(choices)
    if value not in known:
        raise InputError(f"{name}: expected {' or '.join(known)}, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """InputError unless value is a finite number above 0."""
    if not _is_positive(value):
        raise InputError(f"{name}: expected a number above 0, got {value!r}")


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _check_sizes(sizes: Any, classes: int) -> None:
    is_listed = isinstance(sizes, (tuple, list)) and all(map(_is_positive, sizes))
    if not is_listed or len(sizes) != 3 * classes:
        got = f"{len(sizes)} of them" if is_listed else repr(sizes)
        raise InputError(
            f"mean_sizes: expected {3 * classes} numbers above 0, dx, dy, dz in metres for each of "
            f"{classes} classes, got {got}; give the mean sizes of the data that the weights are for"
        )
