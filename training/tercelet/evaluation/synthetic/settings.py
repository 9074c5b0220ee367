"""What a synthetic aerial scene holds: the settings, and the presets that benchmarks and training name.

CLUSTERED_4K, for 3840x2160, is the distribution of the 4K benchmark. 4 to 9 clusters of 10 to 60 objects,
both uniform: 36 % car parks, 8 % depots of trucks and buses (car parks where those would be too long), 26 %
queues on streets, 30 % crowds. 8 % of the objects are stragglers on streets and pavements. The near edge of
a frame has 2 to 5 times the scale of the far edge. The box of a car is log-uniform between 8 and 40 px over
the car parks and queues, as far as that scale allows; other classes are as large as they are beside a car,
people of a crowd 0.9 to 1.8 times that, and none is below 8 or above 40 px unless the frame's edge cuts it.
By day, without blur; at most a tenth of the parked vehicles stands behind a tree.

Measured on seeds 0 to 19: 125 to 424 objects a frame, half of the frames above 257; longer sides 9, 12, 16,
23 and 31 px at 10, 25, 50, 75 and 90 %; 49 % cars, 31 % people, 20 % others; 70 % not occluded, 27 % up to
half, 4 % more. 89 % of a frame (83 to 95) is more than 64 px away from any object; of its tiles of 640 px 33
% (13 to 54) hold none, of those of 320 px 68 %, of those of 160 px 88 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tercelet.contract.errors import InputError

# Outside these a scene is neither drawable in time nor recognisable.
SMALLEST_PX, LARGEST_PX = 3.0, 400.0
SMALLEST_SIDE, LARGEST_SIDE = 64, 8192


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Ranges from which each scene draws; a pair is (lowest, highest), both inclusive.

    min_px, max_px: longer side of a box in pixels. The length of a car is log-uniform in that range over the
        clusters of a scene; other classes have their size relative to a car there, kept inside the range.
    clusters, objects_per_cluster: how many car parks, road queues and crowds, and how many objects each.
    stragglers: share of all objects that lies outside the clusters, in [0, 0.9].
    depth: scale at the lower edge of the frame over scale at the upper edge; 1 is a look straight ahead onto
        a plane without perspective.
    elevation: degrees above the horizon from which the lower edge is seen; 90 is straight from above.
    occlusion: share of the objects of car parks and crowds that get a tree in front of them, and how close
        the people of a crowd stand, in [0, 1].
    haze: largest share of grey at the far edge, in [0, 0.9]. night: share of scenes at night.
    noise: largest standard deviation of the sensor's noise, in grey levels. blur: share of blurred scenes.
    """

    min_px: float = 6.0
    max_px: float = 60.0
    clusters: tuple[int, int] = (1, 5)
    objects_per_cluster: tuple[int, int] = (6, 40)
    stragglers: float = 0.15
    depth: tuple[float, float] = (1.0, 4.0)
    elevation: tuple[float, float] = (40.0, 80.0)
    occlusion: float = 0.2
    haze: float = 0.35
    night: float = 0.1
    noise: float = 5.0
    blur: float = 0.3

    def __post_init__(self) -> None:
        if not SMALLEST_PX <= self.min_px <= self.max_px <= LARGEST_PX:
            raise InputError(
                f"min_px, max_px: expected {SMALLEST_PX:g} <= min_px <= max_px <= {LARGEST_PX:g}, "
                f"got {self.min_px:g} and {self.max_px:g}"
            )
        _check_pair("clusters", self.clusters, 0, 200)
        _check_pair("objects_per_cluster", self.objects_per_cluster, 1, 500)
        _check_pair("depth", self.depth, 1.0, 12.0)
        _check_pair("elevation", self.elevation, 25.0, 90.0)
        _check_value("stragglers", self.stragglers, 0.9)
        _check_value("occlusion", self.occlusion, 1.0)
        _check_value("haze", self.haze, 0.9)
        _check_value("night", self.night, 1.0)
        _check_value("noise", self.noise, 60.0)
        _check_value("blur", self.blur, 1.0)


def _check_pair(name: str, pair: tuple[float, float], lowest: float, highest: float) -> None:
    if len(pair) != 2 or not lowest <= pair[0] <= pair[1] <= highest:
        raise InputError(
            f"{name}: expected (lowest, highest) between {lowest:g} and {highest:g}, got {pair!r}"
        )


def _check_value(name: str, value: float, highest: float) -> None:
    if not (math.isfinite(value) and 0.0 <= value <= highest):
        raise InputError(f"{name}: expected a number from 0 to {highest:g}, got {value!r}")


DEFAULT = SceneSettings()

CLUSTERED_4K = SceneSettings(
    min_px=8.0,
    max_px=40.0,
    clusters=(4, 9),
    objects_per_cluster=(10, 60),
    stragglers=0.08,
    depth=(2.0, 5.0),
    elevation=(45.0, 75.0),
    occlusion=0.1,
    haze=0.25,
    night=0.0,
    noise=3.0,
    blur=0.0,
)


@dataclass(frozen=True)
class Preset:
    """Settings with the frame size in pixels that they are meant for."""

    name: str
    settings: SceneSettings
    width: int
    height: int


PRESETS = (
    Preset("default", DEFAULT, 1920, 1080),
    Preset("clustered-4k", CLUSTERED_4K, 3840, 2160),
)


def preset_named(name: str) -> Preset:
    """The preset of that name; InputError lists them."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise InputError(f"preset: expected one of {', '.join(p.name for p in PRESETS)}, got {name!r}")
