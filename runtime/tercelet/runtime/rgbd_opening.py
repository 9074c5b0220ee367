"""From a bundle of pipeline rgbd to a pipeline that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tercelet.contract.artefact import MANIFEST_NAME
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.session import PointSession, SessionOptions
from tercelet.runtime.backends import point_session_opener
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.point_golden import check_point_golden


def open_rgbd(
    folder: Path,
    manifest: Manifest,
    *,
    options: SessionOptions,
    postprocess: Postprocess,
    check_golden: bool = True,
    seed: int | None = None,
) -> RgbdPipeline:
    """Open a bundle of pipeline rgbd. See `tercelet.runtime.open_pipeline` for options and errors."""
    session = open_point_session(folder, manifest, options)
    try:
        if check_golden:
            check_point_golden(folder, manifest, session)
        return RgbdPipeline(manifest, session, postprocess=postprocess, seed=seed)
    except BaseException:  # Ctrl-C too must release the engine; re-raised
        session.close()
        raise


def open_point_session(folder: Path, manifest: Manifest, options: SessionOptions) -> PointSession:
    """Open the network of a bundle of pipeline rgbd. Raises InputError where the folder is none."""
    try:
        manifest.cloud_parts()
        _, _, target = manifest.bundle_parts()
        opener = point_session_opener(target.backend)
    except InputError as error:
        raise InputError(f"{folder / MANIFEST_NAME}: {error}") from error
    return opener(folder, manifest, options)


def refuse_picture_options(folder: Path, manifest: Manifest, given: Mapping[str, object]) -> None:
    """InputError naming the first option that was given and says something of pictures alone.

    given: name to value, None or False where it was not.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise InputError(
                f"{name}: expected with a detector of pictures only, got it with {folder}, where "
                f"{manifest.detector.name} looks at clouds of points; leave it out"
            )
