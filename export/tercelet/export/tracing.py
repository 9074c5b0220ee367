"""Torch's exporter, quiet, and with its errors made readable."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError

INPUT_NAME = "canvases"
_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
# Wider than what the rules take for equal.
_NEAR_ZERO, _NEAR_ONE = 1e-7, 1e-4
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def onnx_from_module(
    module: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    output_names: Sequence[str],
    opset: int,
    batch: int = 1,
    translations: Mapping[Any, Any] | None = None,
) -> onnx.ModelProto:
    """The graph of an eval-mode module for inputs of one fixed size.

    inputs: an example of each by name, in the module's order, or canvases alone, then of two where batch is
    above 1: torch takes a batch of one for a constant. opset: 18 and up. batch: above 1 the graph takes any
    number of canvases from 1 to that. translations: ONNX functions of custom torch ops. CheckFailedError
    where the exporter gives up.
    """
    named = {INPUT_NAME: inputs} if isinstance(inputs, Tensor) else dict(inputs)
    shapes = {INPUT_NAME: {0: torch.export.Dim("batch", min=1, max=batch)}} if batch > 1 else None
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(named.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=opset,
                input_names=list(named),
                output_names=list(output_names),
                verbose=False,
                optimize=False,
                custom_translation_table=dict(translations or {}),
            )
            assert program is not None
            _optimize(program)
    except torch.onnx.errors.OnnxExporterError as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        first = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:300]
        raise CheckFailedError(f"torch {torch.__version__} could not export the network: {first}") from error
    model: onnx.ModelProto = program.model_proto
    return model


def _optimize(program: Any) -> None:
    """Torch's own optimisation of the graph, as far as it is exact.

    Its rules take a number within 1e-8 of 0, or within 1e-5 of 1, for 0 or 1, and so leave out the additions
    that keep a divisor from being 0. A graph with such a number only gets its constants folded.
    """
    from onnxscript import optimizer

    optimizer.fold_constants(program.model)
    if not any(_is_almost_neutral(node) for node in program.model.graph):
        program.optimize()


def _is_almost_neutral(node: Any) -> bool:
    """Whether a node adds or multiplies by a number that is next to 0 or 1 but is not."""
    from onnx_ir.convenience import get_const_tensor

    neutral = _NEUTRAL.get(node.op_type)
    if neutral is None:
        return False
    constants = (get_const_tensor(value) for value in node.inputs if value is not None)
    numbers = [float(item.numpy().item()) for item in constants if item is not None and item.size == 1]
    return any(
        number != neutral and math.isclose(number, neutral, rel_tol=_NEAR_ONE, abs_tol=_NEAR_ZERO)
        for number in numbers
    )


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _was_interrupted(error: BaseException | None) -> bool:
    """The exporter wraps whatever it meets in an error of its own, Ctrl-C too."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
