"""The `tercelet` command: imports only the verb that was asked for.

The runtime's own verbs lie in `tercelet.runtime.commands`; those of the packages above, and of anybody else,
are found through the entry points of group tercelet.commands. A verb is a module with SUMMARY (one line),
REQUIRES (pairs of import name and extra), `add_arguments(parser)` and `execute(arguments)`, from
which the exit code comes; heavy imports belong inside `execute`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from tercelet.contract.errors import InputError, MissingDependencyError, TerceletError
from tercelet.runtime.printable import printable

_OWN_VERBS = ("run", "benchmark", "inspect", "doctor")
_ORDER = (
    "synth",
    "prepare",
    "train",
    "import",
    "export",
    "build-ops",
    "bundle-aerial",
    "run",
    "evaluate",
    "benchmark",
    "compare",
    "inspect",
    "doctor",
    "demo",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 ok, 1 a check failed, 2 wrong use or bad input, 3 something is missing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # numpy's linear algebra starts a thread a core that waits in a loop; no verb here has use for them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _prepare_streams()
    try:
        with _terminated_like_interrupted():
            return _dispatch(arguments)
    except TerceletError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except _Terminated:
        return _fail("terminated", 143)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        return _fail(f"the system refuses: {error}", 2)


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("tercelet"))
        return 0
    return _run_verb(arguments[0], arguments[1:])


def _prepare_streams() -> None:
    """Print as escapes what the terminal's encoding lacks; a closed stream is None and takes nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class _Terminated(BaseException):
    """SIGTERM came; raised so that half-written output is removed on the way out."""


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless somebody handles it already; `run` has a handler of its own."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; see {self.prog} --help")


class _UsageError(TerceletError):
    exit_code = 2


def _run_verb(name: str, arguments: Sequence[str]) -> int:
    module = _verb(name)
    parser = _Parser(prog=f"tercelet {name}", description=module.SUMMARY)
    module.add_arguments(parser)
    options = parser.parse_args(arguments)
    missing = _missing(module)
    if missing:
        package, extra = missing
        raise MissingDependencyError(
            f"tercelet {name} needs the package {package}, which is not installed: "
            f"pip install 'tercelet[{extra}]'"
        )
    return int(module.execute(options))


def _verb(name: str) -> Any:
    """The module of a verb; InputError for one that nobody offers."""
    if name in _OWN_VERBS:  # found without importlib.metadata, which takes 20 ms
        return import_module(f"tercelet.runtime.commands.{name}")
    for point in _points():
        if point.name == name:
            return point.load()
    raise InputError(f"unknown verb {name!r}; expected one of {', '.join(_verb_names())}")


def _points() -> Any:
    from importlib.metadata import entry_points

    return entry_points(group="tercelet.commands")


def _verb_names() -> list[str]:
    names = {*_OWN_VERBS, *(point.name for point in _points())}
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _missing(module: Any) -> tuple[str, str] | None:
    for package, extra in module.REQUIRES:
        if importlib.util.find_spec(package) is None:
            return package, extra
    return None


def _overview() -> str:
    lines = ["usage: tercelet VERB [options]     (tercelet VERB --help for the options of one)", ""]
    names = _verb_names()
    width = max(map(len, names))
    lines += [f"  {name:<{width}} {_summary_of(name)}" for name in names]
    lines += [
        "",
        "exit codes: 0 ok, 1 a check failed, 2 wrong use or bad input, 3 something is missing",
    ]
    return "\n".join(lines)


def _summary_of(name: str) -> str:
    try:
        module = _verb(name)
    except (ImportError, AttributeError) as error:
        # A verb may come from another package; a broken one must not take the others down.
        return f"[cannot be loaded: {error}]"
    missing = _missing(module)
    note = f"  [needs pip install 'tercelet[{missing[1]}]']" if missing else ""
    return f"{module.SUMMARY}{note}"


def _fail(message: str, code: int) -> int:
    lines = [printable(line) for line in message.splitlines()]
    print("tercelet: " + "\n".join(lines), file=sys.stderr)
    return code
