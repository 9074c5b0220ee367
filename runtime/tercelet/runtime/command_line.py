"""The `tercelet` command: finds its verbs through entry points, imports only the one that was asked for.

A verb is a module with SUMMARY (one line), REQUIRES (pairs of import name and extra that it needs),
`add_arguments(parser)` and `execute(arguments) -> exit code`; heavy imports belong inside `execute`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, NoReturn

from tercelet.contract.errors import MissingDependencyError, TerceletError

_ORDER = ("import", "export", "run", "evaluate", "benchmark", "compare", "inspect", "doctor", "demo")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 ok, 1 a check failed, 2 wrong use or bad input, 3 something is missing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbs = {point.name: point for point in entry_points(group="tercelet.commands")}
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(_overview(verbs))
            return 0 if arguments else 2
        if arguments[0] == "--version":
            print(version("tercelet"))
            return 0
        if arguments[0] not in verbs:
            return _fail(f"unknown verb {arguments[0]!r}; expected one of {', '.join(_sorted(verbs))}", 2)
        return _run_verb(verbs[arguments[0]], arguments[1:])
    except TerceletError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; see {self.prog} --help")


class _UsageError(TerceletError):
    exit_code = 2


def _run_verb(point: EntryPoint, arguments: Sequence[str]) -> int:
    module = point.load()
    parser = _Parser(prog=f"tercelet {point.name}", description=module.SUMMARY)
    module.add_arguments(parser)
    options = parser.parse_args(arguments)
    missing = _missing(module)
    if missing:
        package, extra = missing
        raise MissingDependencyError(
            f"tercelet {point.name} needs the package {package}, which is not installed: "
            f"pip install 'tercelet[{extra}]'"
        )
    return int(module.execute(options))


def _missing(module: Any) -> tuple[str, str] | None:
    for package, extra in module.REQUIRES:
        if importlib.util.find_spec(package) is None:
            return package, extra
    return None


def _overview(verbs: dict[str, EntryPoint]) -> str:
    lines = ["usage: tercelet VERB [options]     (tercelet VERB --help for the options of one)", ""]
    for name in _sorted(verbs):
        module = verbs[name].load()
        missing = _missing(module)
        note = f"  [needs pip install 'tercelet[{missing[1]}]']" if missing else ""
        lines.append(f"  {name:<10} {module.SUMMARY}{note}")
    lines += [
        "",
        "exit codes: 0 ok, 1 a check failed, 2 wrong use or bad input, 3 something is not installed",
    ]
    return "\n".join(lines)


def _sorted(verbs: dict[str, EntryPoint]) -> list[str]:
    return sorted(verbs, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _fail(message: str, code: int) -> int:
    print(f"tercelet: {message}", file=sys.stderr)
    return code
