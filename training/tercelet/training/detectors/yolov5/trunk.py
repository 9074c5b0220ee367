"""Backbone and neck of YOLOv5 (v6.0 and later), as rows of a layer table."""

from __future__ import annotations

from tercelet.training.detectors.layers import Layer, c3, concat, conv, sppf, upsample
from tercelet.training.detectors.scaling import Scale

SCALES = {
    "n": Scale(0.33, 0.25),
    "s": Scale(0.33, 0.5),
    "m": Scale(0.67, 0.75),
    "l": Scale(1.0, 1.0),
    "x": Scale(1.33, 1.25),
}

HEAD_SOURCES = (17, 20, 23)


def trunk(scale: Scale) -> tuple[Layer, ...]:
    """The rows before the head, which reads `HEAD_SOURCES`."""
    c, n = scale.channels, scale.repeats
    return (
        conv(c(64), 6, stride=2, padding=2),  # 0
        conv(c(128), stride=2),
        c3(c(128), n(3)),
        conv(c(256), stride=2),  # 3
        c3(c(256), n(6)),
        conv(c(512), stride=2),  # 5
        c3(c(512), n(9)),
        conv(c(1024), stride=2),  # 7
        c3(c(1024), n(3)),
        sppf(c(1024)),
        conv(c(512), 1),  # 10
        upsample(),
        concat(6),
        c3(c(512), n(3), shortcut=False),  # 13
        conv(c(256), 1),
        upsample(),
        concat(4),
        c3(c(256), n(3), shortcut=False),  # 17: P3
        conv(c(256), stride=2),
        concat(14),
        c3(c(512), n(3), shortcut=False),  # 20: P4
        conv(c(512), stride=2),
        concat(10),
        c3(c(1024), n(3), shortcut=False),  # 23: P5
    )
