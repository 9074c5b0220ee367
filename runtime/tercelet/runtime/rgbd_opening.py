"""From a bundle of pipeline rgbd to a pipeline that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest, verify_file
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.session import PointSession, SessionOptions
from tercelet.runtime.backends import point_session_opener
from tercelet.runtime.pipelines.picture_votes import PictureVotes
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
    per_class: bool = False,
) -> RgbdPipeline:
    """Open a bundle of pipeline rgbd. See `tercelet.runtime.open_pipeline` for options and errors.

    per_class: see `RgbdPipeline`. The bundles inside it, a 2D detector's and one for frames without a
    picture, are opened with it.
    """
    record = manifest.picture_votes
    with ExitStack() as opened:
        session = open_point_session(folder, manifest, options)
        opened.callback(session.close)
        if check_golden:
            check_point_golden(folder, manifest, session)
        votes = None if record is None else _picture_votes(folder, manifest, options, check=check_golden)
        if votes is not None:
            opened.callback(votes.close)
        alone = None
        if record is not None and record.without_picture is not None:
            inner = _inner_folder(folder, manifest, record.without_picture)
            points_alone = read_manifest(inner)
            if points_alone.picture_votes is not None:
                raise InputError(
                    f"{inner}: expected a bundle that needs no picture, got {points_alone.detector.name}"
                )
            alone = open_rgbd(
                inner,
                points_alone,
                options=options,
                postprocess=postprocess,
                check_golden=check_golden,
                seed=seed,
                per_class=per_class,
            )
            opened.callback(alone.close)
        pipeline = RgbdPipeline(
            manifest,
            session,
            postprocess=postprocess,
            seed=seed,
            per_class=per_class,
            picture=votes,
            without_picture=alone,
        )
        opened.pop_all()  # from here on the pipeline closes them
    return pipeline


def _picture_votes(
    folder: Path, manifest: Manifest, options: SessionOptions, *, check: bool
) -> PictureVotes | None:
    """The part that looks at pictures, with its 2D detector opened where the bundle has one."""
    record = manifest.picture_votes
    if record is None:
        return None
    if record.detector is None:
        return PictureVotes(record, None)
    # As it works in density_crops too: the detector, on the full frame alone.
    from tercelet.runtime.opening import open_single

    inner = _inner_folder(folder, manifest, record.detector)
    detect = open_single(inner, options=options, score_threshold=record.score_threshold, check_golden=check)
    try:
        return PictureVotes(record, detect)
    except BaseException:  # Ctrl-C too must release the engine; re-raised
        detect.close()
        raise


def _inner_folder(folder: Path, manifest: Manifest, name: str) -> Path:
    """A bundle inside the bundle, after its manifest, which holds the hashes of its files, was compared."""
    return verify_file(folder, manifest, f"{name}/{MANIFEST_NAME}").parent


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
