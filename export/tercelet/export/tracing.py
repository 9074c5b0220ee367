"""Torch's exporter, quiet, and with its errors made readable."""

from __future__ import annotations

import logging
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
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def onnx_from_module(
    module: nn.Module,
    canvases: Tensor,
    *,
    output_names: Sequence[str],
    opset: int,
    batch: int = 1,
    translations: Mapping[Any, Any] | None = None,
    input_name: str = INPUT_NAME,
) -> onnx.ModelProto:
    """The graph of an eval-mode module for canvases, or clouds, of one fixed size.

    canvases: an example, of two where batch is above 1: torch takes a batch of one for a constant. opset: 18
    and up. batch: above 1 the graph takes any number of canvases from 1 to that. translations: ONNX functions
    of custom torch ops. input_name: of its one input. CheckFailedError where the exporter gives up.
    """
    shapes = {input_name: {0: torch.export.Dim("batch", min=1, max=batch)}} if batch > 1 else None
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (canvases,),
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=opset,
                input_names=[input_name],
                output_names=list(output_names),
                verbose=False,
                optimize=True,
                custom_translation_table=dict(translations or {}),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        first = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:300]
        raise CheckFailedError(f"torch {torch.__version__} could not export the network: {first}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


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
