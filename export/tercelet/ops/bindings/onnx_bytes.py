"""A graph of one node as the bytes of an ONNX file, without the onnx package, which a device lacks.

Field numbers are those of onnx.proto, the format of the ONNX project.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from tercelet.contract.op_spec import DOMAIN, DOMAIN_VERSION, AttributeValue, Operand, OpSpec

IR_VERSION = 10
OPSET = 19
_ELEMENTS = {"float32": 1, "int32": 6}
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7


def bytes_from_op(
    spec: OpSpec, shapes: Sequence[Sequence[int]], attributes: Mapping[str, AttributeValue]
) -> bytes:
    """A model whose graph is one node of `spec`, its inputs and outputs named as the specification names
    them.

    shapes: of the inputs. InputError where shapes or attributes do not fit.
    """
    outputs = spec.output_shapes(shapes, attributes)
    node = b"".join(_text(1, item.name) for item in spec.inputs)
    node += b"".join(_text(2, item.name) for item in spec.outputs)
    node += _text(4, spec.name)
    node += b"".join(_field(5, _attribute(name, value)) for name, value in spec.complete(attributes).items())
    node += _text(7, DOMAIN)
    graph = _field(1, node) + _text(2, spec.folder)
    for number, operands, sizes in ((11, spec.inputs, shapes), (12, spec.outputs, outputs)):
        for item, shape in zip(operands, sizes, strict=True):
            graph += _field(number, _value(item, shape))
    opsets = _field(8, _number(2, OPSET)) + _field(8, _text(1, DOMAIN) + _number(2, DOMAIN_VERSION))
    return _number(1, IR_VERSION) + _field(7, graph) + opsets


def _attribute(name: str, value: AttributeValue) -> bytes:
    if isinstance(value, str):
        return _text(1, name) + _field(4, value.encode()) + _number(20, _STRING)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, number) for number in value) + _number(20, _INTS)


def _value(item: Operand, shape: Sequence[int]) -> bytes:
    sizes = b"".join(_field(1, _number(1, size)) for size in shape)
    return _text(1, item.name) + _field(2, _field(1, _number(1, _ELEMENTS[item.dtype]) + _field(2, sizes)))


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & (1 << 64) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
