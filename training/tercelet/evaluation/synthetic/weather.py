"""Between the scene and the file: haze, night with its lamps, blur, the sensor's noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.painting import Frame, soften
from tercelet.evaluation.synthetic.settings import SceneSettings
from tercelet.evaluation.synthetic.solids import Sun

_STRIP = 48
_HAZE = np.array((206, 202, 196), np.float32)
_NIGHT = np.array((0.30, 0.24, 0.21), np.float32)
_LAMP = np.array((0.62, 0.92, 1.12), np.float32)
# The light of lamps is computed at one sample in so many pixels each way.
_LIGHT_CELL = 16
# Where lamps overlap it is still darker than by day.
_BRIGHTEST = 0.8


@dataclass(frozen=True)
class Weather:
    """haze: share of grey at the upper edge. noise: standard deviation in grey levels. gain: brightness."""

    haze: float
    night: bool
    noise: float
    blurred: bool
    gain: float
    sun: Sun


@dataclass(frozen=True)
class Lamp:
    """A light at image (x, y) that reaches `radius` px; strength 1 is about daylight."""

    x: float
    y: float
    radius: float
    strength: float


def draw_weather(rng: np.random.Generator, settings: SceneSettings) -> Weather:
    """The weather of a scene."""
    night = bool(rng.random() < settings.night)
    overcast = bool(rng.random() < 0.3) or night
    azimuth, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.92)
    flat = float(np.sqrt(1 - up * up))
    # A sun behind the camera lights what is seen; low backlight would make silhouettes.
    away = -abs(flat * float(np.sin(azimuth))) * 0.7
    right = flat * float(np.cos(azimuth))
    length = float(np.sqrt(right * right + away * away + up * up))
    strength = rng.uniform(0.12, 0.25) if overcast else rng.uniform(0.42, 0.6)
    return Weather(
        haze=float(settings.haze * rng.random() ** 1.5),
        night=night,
        noise=float(settings.noise * rng.uniform(0.3, 1.0) * (1.6 if night else 1.0)),
        blurred=bool(rng.random() < settings.blur),
        gain=float(rng.uniform(0.86, 1.1)),
        sun=Sun(right / length, away / length, up / length, float(strength)),
    )


def finished(
    frame: Frame, weather: Weather, rng: np.random.Generator, lamps: list[Lamp], far: float
) -> Frame:
    """The frame as the camera delivers it; (H, W, 3) uint8, the argument may be overwritten.

    far: how much deeper the upper edge is than the lower one, 0 to 1, for the haze.
    """
    if weather.blurred:
        frame = soften(frame)
    height, width = frame.shape[:2]
    light = _lamp_light(height, width, lamps) if weather.night else None
    tile = rng.standard_normal((_STRIP, width + 256, 3), np.float32)
    tile[:, 1:] += 0.4 * tile[:, :-1]
    tile *= np.float32(weather.noise / 1.08)
    for top in range(0, height, _STRIP):
        part = frame[top : top + _STRIP]
        values = part.astype(np.float32)
        values *= np.float32(weather.gain)
        if light is not None:
            values *= _NIGHT + _spread_rows(light, top, len(part), width)[:, :, None] * _LAMP
        if weather.haze > 0:
            depth = 1 - (np.arange(top, top + len(part), dtype=np.float32) / np.float32(height)) * far
            share = (np.float32(weather.haze) * depth)[:, None, None]
            values += share * (_HAZE * np.float32(0.25 if weather.night else 1.0) - values)
        shift, turn = int(rng.integers(256)), int(rng.integers(_STRIP))
        values += np.roll(tile, turn, axis=0)[: len(part), shift : shift + width]
        values += np.float32(0.5)
        part[...] = values.clip(0, 255, out=values)
    return frame


def _lamp_light(height: int, width: int, lamps: list[Lamp]) -> NDArray[np.float32]:
    """Light at the corners of cells of _LIGHT_CELL pixels."""
    light = np.zeros((height // _LIGHT_CELL + 2, width // _LIGHT_CELL + 2), np.float32)
    ys = np.arange(light.shape[0], dtype=np.float32)[:, None]
    xs = np.arange(light.shape[1], dtype=np.float32)
    for lamp in lamps:
        x, y, reach = lamp.x / _LIGHT_CELL, lamp.y / _LIGHT_CELL, lamp.radius / _LIGHT_CELL
        rows = slice(max(0, int(y - reach)), max(0, int(y + reach) + 2))
        cols = slice(max(0, int(x - reach)), max(0, int(x + reach) + 2))
        dx, dy = (
            (xs[cols] - np.float32(x)) / np.float32(reach),
            (ys[rows] - np.float32(y)) / np.float32(reach),
        )
        fall = (1 - (dx * dx + dy * dy)).clip(0.0, None)
        light[rows, cols] += np.float32(lamp.strength) * fall * fall
    return np.minimum(light, _BRIGHTEST)


def _spread_rows(light: NDArray[np.float32], top: int, count: int, width: int) -> NDArray[np.float32]:
    """Light of some rows of pixels, bilinear between the corners of the cells."""
    y = (np.arange(top, top + count, dtype=np.float32) + np.float32(0.5)) / _LIGHT_CELL
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / _LIGHT_CELL
    row, col = y.astype(np.int64), x.astype(np.int64)
    share_y, share_x = (y - row)[:, None], x - col
    lines = light[row] * (1 - share_y) + light[row + 1] * share_y
    mixed = lines[:, col] * (1 - share_x) + lines[:, col + 1] * share_x
    return mixed.astype(np.float32, copy=False)
