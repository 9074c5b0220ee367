"""Synthetic rooms as an RGB-D camera sees them, with oriented boxes: for training and judging 3D detectors.

    from tercelet.evaluation.synthetic.rooms import room_view
    view = room_view(7)

Furniture of the ten classes of SUN RGB-D is built of boxes, cylinders and ellipsoids and drawn with numpy; no
picture of anybody's home is in it. What a detector scores here says that it learns, not how it fares on real
rooms.
"""

from __future__ import annotations

from tercelet.evaluation.synthetic.rooms.room_synthesis import SyntheticRoomsResult, synth_rooms
from tercelet.evaluation.synthetic.rooms.view import LEAST_POINTS, POINTS, RoomView, room_view

__all__ = ["LEAST_POINTS", "POINTS", "RoomView", "SyntheticRoomsResult", "room_view", "synth_rooms"]
