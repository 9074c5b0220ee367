"""Manifest to and from JSON: a strict reader that names the path of the field it refuses."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union

from tercelet.contract.errors import InputError
from tercelet.contract.manifest import SCHEMA_VERSION, Manifest

T = TypeVar("T")
_JSON_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def json_from_manifest(manifest: Manifest) -> str:
    """The manifest as indented JSON text, parts that are None left out."""
    return json.dumps(_without_none(asdict(manifest)), indent=1, ensure_ascii=False) + "\n"


def manifest_from_json(text: str, *, where: str) -> Manifest:
    """Parse and check a manifest. `where` names the file in errors. Raises InputError."""
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except _Constant as error:
        raise InputError(f"{where}: expected finite numbers, got {error}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or a number of thousands of digits
        raise InputError(f"{where}: expected JSON, got something else: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a JSON object, got {_kind(data)}")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise InputError(
            f"{where}: schema_version: expected {SCHEMA_VERSION}, got {json.dumps(version)}; "
            "make the artefact anew with this version of tercelet"
        )
    return dataclass_from_json(Manifest, data, where=where)


def dataclass_from_json(cls: type[T], data: Any, *, where: str, path: str = "") -> T:
    """Build dataclass `cls` from parsed JSON; InputError with the field's path on any mismatch."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: {path or 'top level'}: expected an object, got {_kind(data)}")
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {_join(path, key)}: unknown key; expected one of {', '.join(known)}")
    values = {}
    for name, item in known.items():
        if name in data:
            values[name] = _value(hints[name], data[name], where=where, path=_join(path, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise InputError(f"{where}: {_join(path, name)}: expected a value, the key is missing")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where}: {path}: {error}" if path else f"{where}: {error}") from error


def _value(hint: Any, data: Any, *, where: str, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, data, where=where, path=path)
    if origin is Literal:
        if data not in arguments or isinstance(data, bool):
            expected = ", ".join(json.dumps(a) for a in arguments)
            raise InputError(f"{where}: {path}: expected {expected}, got {_kind(data)}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise InputError(f"{where}: {path}: expected a list, got {_kind(data)}")
        return tuple(_value(arguments[0], v, where=where, path=f"{path}[{i}]") for i, v in enumerate(data))
    if origin is Mapping:
        if not isinstance(data, dict):
            raise InputError(f"{where}: {path}: expected an object, got {_kind(data)}")
        return {k: _value(arguments[1], v, where=where, path=_join(path, k)) for k, v in data.items()}
    if is_dataclass(hint):
        return dataclass_from_json(typing.cast(type, hint), data, where=where, path=path)
    return _scalar(hint, data, where=where, path=path)


def _union(options: tuple[Any, ...], data: Any, *, where: str, path: str) -> Any:
    if data is None and type(None) in options:
        return None
    members = [option for option in options if option is not type(None)]
    if len(members) == 1:
        return _value(members[0], data, where=where, path=path)
    for option in members:
        try:
            return _value(option, data, where=where, path=path)
        except InputError:
            continue
    raise InputError(
        f"{where}: {path}: expected a number, a string, true, false or a list, got {_kind(data)}"
    )


def _scalar(hint: type, data: Any, *, where: str, path: str) -> Any:
    if hint is float and type(data) is int:
        return float(data)
    if type(data) is not hint or (isinstance(data, float) and not math.isfinite(data)):
        raise InputError(f"{where}: {path}: expected {_JSON_NAMES[hint]}, got {_kind(data)}")
    return data


def _kind(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False)
    if isinstance(data, (dict, list)):
        return "an object" if isinstance(data, dict) else "a list"
    return text if len(text) <= 60 else text[:57] + "..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


class _Constant(ValueError):
    """NaN or an infinity in JSON text."""


def _refuse_constant(name: str) -> Any:
    raise _Constant(name)
