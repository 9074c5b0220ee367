"""Pipelines: a closed list; what differs between detectors is data in the manifest."""

from __future__ import annotations

PIPELINES = (("single", "tercelet.runtime.pipelines.single"),)
