"""The function behind `tercelet demo`. Nothing here or in what it imports needs torch or onnx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.export.demonstration.demo_folder import own_folder
from tercelet.export.demonstration.demo_result import PackagedDemo, WeightsDemo
from tercelet.export.demonstration.installed import EXPORT_PACKAGES, check_installed
from tercelet.export.demonstration.packaged_demo import demonstrate_packaged
from tercelet.export.demonstration.packaged_weights import packaged_weights


def demo(
    *,
    weights: str | Path | None = None,
    detector: str | None = None,
    images: Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    output: str | Path = "demo",
    quick: bool = False,
    json: str | Path | None = None,
    report: Callable[[str], object] | None = None,
) -> PackagedDemo | WeightsDemo:
    """Show what a detector finds, how well and how quickly; an earlier demo in `output` is replaced.

    Without weights: those of the package, on scenes and a clip that are generated here, the full frame alone
    beside closer looks; where torch and onnx are installed, with a bundle exported here, otherwise with the
    finished one of the package. weights, detector: upstream weights and what they are; then import, export,
    compare, run, evaluate, benchmark. images: pictures or folders to run those on, None takes generated ones.
    data: labelled frames to evaluate those on, as for `evaluate`. quick: fewer frames, no cold start.
    report: called with one line a step. json: file for all figures, "-" for stdout.
    Raises InputError, MissingDependencyError where the package came without its weights or a package is not
    installed, CheckFailedError where two bundles, or bundle and checkpoint, disagree.
    """
    check_json_place(json)
    output, say = Path(output), report or (lambda line: None)
    own_folder(output)
    if (weights is None) != (detector is None):
        raise InputError("expected weights and detector together, got one of them; say which network it is")
    result: PackagedDemo | WeightsDemo
    if weights is None or detector is None:
        for name, given in (("images", images), ("data", data)):
            if given:
                raise InputError(
                    f"{name}: expected together with weights and detector, got none of them; the demo's own "
                    "weights run on your pictures with tercelet run, on the bundle that tercelet demo names"
                )
        result = demonstrate_packaged(packaged_weights(), output=output, quick=quick, report=say)
    else:
        if not Path(weights).is_file():
            raise InputError(f"{weights}: expected a file with weights, nothing is there; check the path")
        check_installed(EXPORT_PACKAGES, extra="export", what="weights")
        from tercelet.export.demonstration.weights_demo import demonstrate_weights

        result = demonstrate_weights(
            Path(weights),
            detector,
            images=[Path(path) for path in images or ()],
            data=None if data is None else Path(data),
            output=output,
            quick=quick,
            report=say,
        )
    if json is not None:
        write_json(json, result.record())
    return result
