"""Where frames come from: pictures, folders, video files, cameras, network streams."""

from __future__ import annotations

from tercelet.runtime.sources.frame import Frame, Source, SourceLostError
from tercelet.runtime.sources.opening import check_source, kind_of, open_source

__all__ = ["Frame", "Source", "SourceLostError", "check_source", "kind_of", "open_source"]
