"""Export for several canvases in one run: a graph that takes any number of them, and gives each the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.scenes import synthetic_frame
from tercelet.contract.session import SessionOptions
from tercelet.export import export, exporting
from tercelet.export.aerial_bundle import AERIAL_BATCH
from tercelet.export.exporting import MAXIMUM_BATCH
from tercelet.runtime.command_line import main
from tercelet.runtime.opening import open_session

MOST = 4
# Float32 summed in another order: random weights reach far beyond the canvas, where trained ones do not.
BATCH_PX, BATCH_SCORE = 0.05, 1e-4


@pytest.fixture(scope="module")
def batched(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny detector for up to four canvases, by the command."""
    output = tmp_path_factory.mktemp("batch") / "bundle"
    assert main(["export", str(tiny_checkpoint), "-o", str(output), "--batch", str(MOST)]) == 0
    return output


def test_the_manifest_says_how_many_canvases_may_come(batched: Path, tiny_bundle: Path) -> None:
    several, one = (read_manifest(folder).network for folder in (batched, tiny_bundle))
    assert several is not None
    assert one is not None
    assert (several.batch, one.batch) == ("up_to", "fixed")
    assert several.inputs[0].shape == (MOST, 64, 64, 3)
    assert [output.shape[0] for output in several.outputs] == [MOST] * 3
    assert one.inputs[0].shape == (1, 64, 64, 3)
    assert several.candidates == one.candidates


@pytest.mark.parametrize("count", [1, 2, 3, MOST])
def test_any_number_of_canvases_gives_what_each_gives_by_itself(
    batched: Path, tiny_bundle: Path, count: int
) -> None:
    canvases = np.stack([synthetic_frame(index, height=64, width=64) for index in range(count)])
    single, several = (
        open_session(folder, read_manifest(folder), SessionOptions(threads=1))
        for folder in (tiny_bundle, batched)
    )
    assert (several.batch, several.is_flexible) == (MOST, True)
    assert (single.batch, single.is_flexible) == (1, False)
    together = several.run(canvases)
    assert together.boxes.shape[0] == count
    for index in range(count):
        alone = single.run(canvases[index : index + 1])
        np.testing.assert_allclose(together.scores[index], alone.scores[0], atol=BATCH_SCORE)
        # Where two scores differ by less than rounding the order is open; the sums over all pairs are not.
        assert np.array_equal(np.bincount(together.class_ids[index]), np.bincount(alone.class_ids[0]))
        clear = np.flatnonzero(np.abs(np.diff(alone.scores[0], prepend=2, append=-1)) > 2 * BATCH_SCORE)
        settled = clear[:-1][np.diff(clear) == 1]
        assert len(settled) > 3
        np.testing.assert_allclose(
            together.boxes[index, settled], alone.boxes[0, settled], atol=BATCH_PX, rtol=1e-4
        )
    for session in (single, several):
        session.close()


@pytest.mark.parametrize("batch", [0, -1, MAXIMUM_BATCH + 1])
def test_a_batch_that_no_frame_needs_is_refused_before_any_work(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: int
) -> None:
    with pytest.raises(InputError, match=f"batch: expected 1 to {MAXIMUM_BATCH}, got {batch}"):
        export(tiny_checkpoint, output=tmp_path / "b", batch=batch)
    assert main(["export", str(tiny_checkpoint), "-o", str(tmp_path / "b"), "--batch", str(batch)]) == 2
    assert f"batch: expected 1 to {MAXIMUM_BATCH}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("batch", "with_density", "expected"),
    [
        (None, False, 1),
        (None, True, AERIAL_BATCH),
        (1, False, 1),
        (1, True, 1),
        (2, True, 2),
    ],
)
def test_a_batch_that_was_asked_for_is_never_changed(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int | None,
    with_density: bool,
    expected: int,
) -> None:
    class Seen(Exception):
        """The graph is about to be made."""

    def stop(*args: object, batch: int, **options: object) -> None:
        raise Seen(batch)

    monkeypatch.setattr(exporting, "onnx_from_detector", stop)
    monkeypatch.setattr(exporting, "check_density_bundle", lambda folder: None)
    density = tmp_path / "density" if with_density else None
    with pytest.raises(Seen) as seen:
        export(tiny_checkpoint, output=tmp_path / "b", batch=batch, density=density)
    assert seen.value.args == (expected,)
