"""The errors that reach a user, each with the exit code of the command line.

A message says what was expected, what came, where, and what to do next, in one or two lines.
"""

from __future__ import annotations


class TerceletError(Exception):
    """Base of every error that is the user's to read; printed without a traceback."""

    exit_code = 1


class CheckFailedError(TerceletError):
    """A check did not hold: parity above its gate, a hash that differs, a golden pair missed."""

    exit_code = 1


class InputError(TerceletError, ValueError):
    """Wrong use or bad input: a file that is not what it should be, an impossible request."""

    exit_code = 2


class MissingDependencyError(TerceletError, ImportError):
    """The environment lacks a package, a tool or a device that the request needs."""

    exit_code = 3
