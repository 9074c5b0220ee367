"""Verbs of the command line that export: export, demo."""
