"""Programs and files: codecs, the compiler, CMake, and the verbs of the command line."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tercelet.runtime.checks.environment import Environment, Finding

COMPILERS = ("g++", "c++", "clang++")
VERBS = "tercelet.commands"
_PARTS_OF_A_VERB = ("SUMMARY", "REQUIRES", "add_arguments", "execute")
_HELLO = '#include <iostream>\nint main() { std::cout << "hello" << std::endl; }\n'
_COST = "native kernels of custom ops cannot be built here; everything runs without them, some models slower"


def check_codecs(environment: Environment) -> Finding:
    """Pictures and a video are written and read back."""
    if not environment.is_importable("cv2"):
        return Finding("warning", "OpenCV is not installed", "pip install 'tercelet[vision]'")
    with tempfile.TemporaryDirectory(dir=environment.scratch) as folder:
        outcome = environment.run_trial("round_trip_files", folder)
    if outcome.code:
        return Finding(
            "warning",
            f"not every format can be written and read: {outcome.reason}",
            "pip install 'tercelet[vision]' brings an OpenCV with codecs",
        )
    return Finding("ok", outcome.output.strip())


def check_compiler(environment: Environment) -> Finding:
    """A C++17 compiler builds a program, and the program runs."""
    named = environment.variables.get("CXX")
    compiler = next(
        (path for name in ((named,) if named else COMPILERS) if (path := environment.which(name))), None
    )
    if compiler is None:
        looked_for = f"CXX={named}" if named else ", ".join(COMPILERS)
        return Finding("warning", f"no C++ compiler ({looked_for}): {_COST}", "apt install g++")
    with tempfile.TemporaryDirectory(dir=environment.scratch) as folder:
        source, program = Path(folder, "hello.cc"), Path(folder, "hello")
        source.write_text(_HELLO, encoding="ascii")
        built = environment.run([compiler, "-std=c++17", str(source), "-o", str(program)])
        if built.code:
            found = f"{compiler} does not build a program: {built.reason}; {_COST}"
            return Finding("warning", found, "apt install g++ libc6-dev")
        ran = environment.run([str(program)])
    if ran.code or ran.output.strip() != "hello":
        found = f"a program built with {compiler} does not run: {ran.reason}; {_COST}"
        return Finding("warning", found, "is it a compiler for another machine? see CXX and PATH")
    return Finding("ok", f"{compiler} built a program that runs")


def check_cmake(environment: Environment) -> Finding:
    """CMake runs."""
    path = environment.which("cmake")
    if path is None:
        return Finding("warning", f"no CMake: {_COST}", "apt install cmake, or pip install cmake")
    outcome = environment.run([path, "--version"])
    if outcome.code:
        found = f"{path} does not run: {outcome.reason}; {_COST}"
        return Finding("warning", found, "apt install --reinstall cmake")
    return Finding("ok", outcome.output.splitlines()[0])


def check_verbs(environment: Environment) -> Finding:
    """Every verb that installed packages announce can be loaded and is one."""
    points = environment.entry_points(VERBS)
    if not points:
        return Finding(
            "problem", "no verb is announced: tercelet's metadata are missing", "install tercelet anew"
        )
    wrong = []
    for name, point in sorted(points.items()):
        try:
            module = point.load()
        except Exception as error:  # a foreign package's module may raise anything when it is imported
            wrong.append(f"{name} ({point.value}: {type(error).__name__}: {error})")
            continue
        lacks = [part for part in _PARTS_OF_A_VERB if not hasattr(module, part)]
        if lacks:
            wrong.append(f"{name} ({point.value} has no {lacks[0]})")
    if wrong:
        return Finding(
            "problem",
            f"cannot be loaded: {'; '.join(wrong)}",
            "install tercelet, or the package that the verb comes from, anew",
        )
    return Finding("ok", f"{len(points)} verbs load: {', '.join(sorted(points))}")
