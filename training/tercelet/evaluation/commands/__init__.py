"""Verbs of the command line that judge: evaluate, compare."""
