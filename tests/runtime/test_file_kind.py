"""Inspecting files that are made to exhaust the machine, or to write to the terminal."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from tercelet.runtime import inspect


def _header(**record: Any) -> bytes:
    raw = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **record}}).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(4)


@pytest.mark.parametrize(
    "record",
    [
        {"shape": [1 << 47] * 300_000},
        {"shape": ["x" * 1000, 1 << 47]},
        {"shape": [1.5]},
        {"data_offsets": [0, "x"]},
        {"data_offsets": [0, 1 << 70]},
        {"data_offsets": [0, -1]},
    ],
    ids=["endless shape", "text as shape", "broken side", "text as offset", "huge offset", "negative offset"],
)
def test_a_safetensors_header_with_impossible_numbers_is_none(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(_header(**record))
    assert inspect(path).kind == "unknown"


def test_the_maker_of_an_onnx_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [])
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("\x1b[2J", 1)]
    model = helper.make_model(graph, producer_name="\x1b[31mEVIL" * 999, opset_imports=domains)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    description = inspect(path).description
    assert "EVIL" in description
    assert description.isprintable()
    assert len(description) < 600


def test_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my picture; ls.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    assert inspect(path).next_step == f"tercelet run BUNDLE '{path}'"
