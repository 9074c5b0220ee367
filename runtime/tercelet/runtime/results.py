"""Results as JSON lines: one object a frame, one write a line, so that a killed run leaves whole lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, check_json_place
from tercelet.runtime.sources.frame import Frame


def timing_of(frame: Frame, detections: Detections) -> dict[str, float]:
    """Milliseconds by stage in the order of work: read first, then the pipeline's."""
    return {"read": frame.read_ms, **detections.timing_ms}


def record_of(frame: Frame, detections: Detections) -> dict[str, Any]:
    """The JSON-ready object of one frame: source, frame, width, height, detections, timing_ms, and plan where
    there was one."""
    report = {} if detections.report is None else {"plan": detections.report.record()}
    return {
        "source": frame.source,
        "frame": frame.index,
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
        "detections": list(detections.records()),
        "timing_ms": {stage: round(float(value), 3) for stage, value in timing_of(frame, detections).items()},
        **report,
    }


class ResultLines:
    """A file of JSON lines, or stdout for "-". The file is made, or an older one emptied, by the first write.

    Each line is handed to the system in one write, unbuffered; where that fails half-way (disk full), what
    was written of the line is taken back.
    """

    def __init__(self, target: str | Path) -> None:
        """Raises InputError if the target cannot become a file; nothing is made yet."""
        self.target = target
        self._descriptor: int | None = None
        check_json_place(target)
        if str(target) == STDOUT and sys.stdout is None:
            # Its number may by now be that of another file, which would get the results.
            raise InputError("-: expected stdout for the results, but it is closed; name a file")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line. Raises InputError where the system refuses; BrokenPipeError passes through."""
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
        # A file name that is not UTF-8 comes as lone surrogates; their escapes are valid JSON.
        line = (text + "\n").encode("utf-8", "backslashreplace")
        self.open()
        assert self._descriptor is not None
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except BrokenPipeError:
            raise
        except OSError as error:
            if written:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise InputError(f"{self.target}: results cannot be written: {error.strerror}") from error

    def open(self) -> None:
        """Make the file and its folder, if that has not been done."""
        if self._descriptor is not None:
            return
        try:
            if str(self.target) == STDOUT:
                self._descriptor = os.dup(1)
                return
            path = Path(self.target).resolve()  # the place that check_json_place looked at
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise InputError(f"{self.target}: results cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Give the file back; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.close(descriptor)
        except OSError as error:  # where a network disk says that it is full
            raise InputError(f"{self.target}: results cannot be written: {error.strerror}") from error

    def __enter__(self) -> ResultLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.open()  # a run without a single frame still leaves the file that was asked for
        self.close()
