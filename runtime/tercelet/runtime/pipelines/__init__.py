"""Pipelines: a closed list; what differs between detectors is data in the manifest."""
