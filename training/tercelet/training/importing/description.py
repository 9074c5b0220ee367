"""What a checkpoint says about itself: class names, image size, date, licence, and who wrote it."""

from __future__ import annotations

from typing import Any

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import InertObject, quoted
from tercelet.training.importing.pickle_calls import is_integer

MAX_CLASSES = 100_000
_IMAGE_SIZES = range(32, 16385)
_MAX_TEXT = 200


def class_names_of(checkpoint: Any, model: Any, *, where: str) -> tuple[str, ...] | None:
    """Class names in the order of their index; None if the file has none.

    Upstream keeps a list, or a dictionary from index to name. Raises InputError if it is neither, has gaps,
    or holds something that is no name.
    """
    names = _attribute(model, "names")
    if names is None:
        names = _attribute(checkpoint, "names")
    if names is None:
        return None
    advice = "give the class names with --labels FILE"
    if isinstance(names, dict):
        if not all(is_integer(index) for index in names) or sorted(names) != list(range(len(names))):
            raise InputError(f"{where}: class names: expected indices 0, 1, 2, ... without gaps; {advice}")
        names = [names[index] for index in sorted(names)]
    if not isinstance(names, (list, tuple)) or not 0 < len(names) <= MAX_CLASSES:
        raise InputError(f"{where}: class names: expected a list or dictionary of them; {advice}")
    texts = tuple(str(name) if is_integer(name) else name for name in names)
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > _MAX_TEXT:
            raise InputError(
                f"{where}: class names: expected a printable name at index {index}, "
                f"got {quoted(text)}; {advice}"
            )
    return texts


def image_size_of(checkpoint: Any, model: Any) -> int | None:
    """The side in pixels that the model was trained at, the longer one of two; None if not stated."""
    holders = [_attribute(checkpoint, key) for key in ("train_args", "opt", "args")]
    for holder in [*holders, _attribute(model, "args"), checkpoint]:
        for key in ("imgsz", "img_size"):
            stated = _attribute(holder, key)
            sides = stated if isinstance(stated, (list, tuple)) else [stated]
            if sides and all(is_integer(side) and side in _IMAGE_SIZES for side in sides):
                return int(max(sides))
    return None


def text_of(checkpoint: Any, *keys: str) -> str | None:
    """The first of `keys` that the checkpoint states as text, fit for a terminal; None if there is none."""
    for key in keys:
        text = _attribute(checkpoint, key)
        if isinstance(text, str) and text.strip():
            return "".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT]).strip()
    return None


def producer_of(checkpoint: Any, model: Any) -> str | None:
    """Who wrote the file: "ultralytics 8.3.38 DetectionModel", or its model's class; None if not stated."""
    version = text_of(checkpoint, "version")
    if not isinstance(model, InertObject):
        return version
    if model.cls.module.partition(".")[0] == "ultralytics":
        return quoted(" ".join(["ultralytics", *([version] if version else []), model.cls.name]))
    return str(model.cls)


def _attribute(holder: Any, name: str) -> Any:
    if isinstance(holder, InertObject):
        return holder.attributes.get(name, holder.items.get(name))
    return holder.get(name) if isinstance(holder, dict) else None
