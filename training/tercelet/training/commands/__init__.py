"""Verbs of the command line that need torch and the detectors: import."""
