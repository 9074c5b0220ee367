"""The numbers of a training of a point detector, as far as they are not those of a detector of pictures."""

from __future__ import annotations

from typing import Any

from tercelet.training.detector_training.recipe import Recipe

# What says nothing where no picture is drawn on a canvas.
PICTURES_ONLY = ("height", "width", "close_mosaic", "offset_lr", "freeze", "nominal_batch")


def point_recipe(*, batch: int = 8, epochs: int = 180, **given: Any) -> Recipe:
    """AdamW with weight decay 0.01, gradients clipped at 10, a rate of 0.002 that falls along a cosine.

    batch: rooms a step. given: other numbers than these, by the names of `Recipe`. InputError as it raises.
    """
    defaults: dict[str, Any] = {
        "optimizer": "adamw",
        "lr": 0.002,
        "weight_decay": 0.01,
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1.0,
        "clip_norm": 10.0,
        # One step, one change of the weights.
        "nominal_batch": batch,
        "height": 1,
        "width": 1,
    }
    return Recipe(batch=batch, epochs=epochs, **{**defaults, **given})
