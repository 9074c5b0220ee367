"""Synthetic aerial scenes with known ground truth: for benchmarks of the aerial pipeline and small trainings.

    from tercelet.evaluation.synthetic import CLUSTERED_4K, aerial_scene
    scene = aerial_scene(7, height=2160, width=3840, settings=CLUSTERED_4K)

Everything is drawn with numpy; no picture of anybody is in it. What a detector scores here says how it finds
small things in clusters, not how it fares on real streets.
"""

from __future__ import annotations

from tercelet.evaluation.synthetic.scene import Scene, aerial_scene
from tercelet.evaluation.synthetic.settings import (
    CLUSTERED_4K,
    DEFAULT,
    PRESETS,
    Preset,
    SceneSettings,
    preset_named,
)
from tercelet.evaluation.synthetic.synthesis import SyntheticResult, synth_aerial

__all__ = [
    "CLUSTERED_4K",
    "DEFAULT",
    "PRESETS",
    "Preset",
    "Scene",
    "SceneSettings",
    "SyntheticResult",
    "aerial_scene",
    "preset_named",
    "synth_aerial",
]
